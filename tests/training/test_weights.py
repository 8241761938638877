"""Gradient accumulation and an epoch's means weigh by examples, as one large batch would."""

import numpy as np
import pytest
import torch

from dlx.training.checkpoint import load
from tests.conftest import same

TABLE = ("model=mlp", "model.hidden=[8]", "dataset=csv", "dataset.path=d.csv", "dataset.val=0", "dataset.test=0")


@pytest.fixture
def table():
    """A file d.csv of 100 rows: two classes around 0 and 2."""
    random = np.random.default_rng(1)
    y = random.integers(0, 2, 100)
    rows = np.c_[random.standard_normal((100, 4)) + 2 * y[:, None], y]
    np.savetxt("d.csv", rows, delimiter=",", header="a,b,c,d,label", comments="", fmt="%.5f,%.5f,%.5f,%.5f,%d")


def weights(run):
    return load(run.checkpoints / "last.pt")["model"]


@pytest.mark.parametrize("batch", [25, 32, 64, 99])
def test_accumulated_batches_make_the_update_of_one_large_batch(batch, train, table):
    short = (*TABLE, "optimizer=sgd", "optimizer.lr=0.5", "trainer.epochs=1")
    full = weights(train("full", *short, "trainer.batch=full"))
    parts = weights(train("parts", *short, f"trainer.batch={batch}", "procedure.accumulate=8"))
    for name, weight in full.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=1e-6)


SEQUENCES = ("model=gru", "dataset=switching", "dataset.examples=40", "dataset.shortest=2", "dataset.longest=12")
SEQUENCES = (*SEQUENCES, "dataset.val=0", "dataset.test=0", "model.hidden=6", "optimizer=sgd", "trainer.epochs=1")


def test_accumulated_sequences_weigh_by_steps(train):
    """The loss of a sequence task is the mean over steps, so that a batch of long sequences weighs more."""
    full = weights(train("full", *SEQUENCES, "optimizer.lr=1", "trainer.batch=full"))
    parts = weights(train("parts", *SEQUENCES, "optimizer.lr=1", "trainer.batch=3", "procedure.accumulate=100"))
    for name, weight in full.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=1e-6)


def test_accumulation_with_loss_scaling_unscales_once(table):
    """A scaled loss gives the same update: the factor stands until the update is made."""
    from dlx.config.compose import compose
    from dlx.parts import assemble
    from dlx.procedures.loss_scale import LossScale

    found = []
    for scale in (None, LossScale()):
        config = compose([*TABLE, "trainer.device=cpu", "trainer.batch=64", "procedure.accumulate=2", "optimizer=sgd"])
        parts = assemble(config)
        parts.procedure.scaler = scale
        for batch in parts.data.train(0):
            parts.procedure.step(batch)
        found.append(parts.model.state_dict())
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=0, atol=1e-6)


def test_resumed_within_an_accumulation_equals_uninterrupted(train, resume, table):
    short = (*TABLE, "trainer.batch=30", "procedure.accumulate=3", "trainer.epochs=2")
    straight = train("straight", *short)
    stopped = train("stopped", *short, "trainer.max_steps=2")
    resume(stopped, trainer__max_steps=None)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    for part in ("model", "procedure", "trainer", "random"):
        assert same(one[part], two[part]), part
    assert straight.read()["metrics"]["train/loss"] == stopped.read()["metrics"]["train/loss"]


@pytest.mark.parametrize("batch", [25, 99])
def test_epoch_mean_of_the_loss_is_that_over_the_examples(batch, train, table):
    """With a rate of 1e-12 the weights stand still, so that the epoch's mean is what an evaluation finds."""
    run = train("a", *TABLE, "optimizer=sgd", "optimizer.lr=1e-12", "trainer.epochs=1", f"trainer.batch={batch}")
    assert run.read()["metrics"]["train/loss"] == pytest.approx(measured(run), rel=1e-6)


def test_epoch_mean_of_a_sequence_loss_is_that_over_the_steps(train):
    run = train("a", *SEQUENCES, "optimizer.lr=1e-12", "trainer.batch=3")
    assert run.read()["metrics"]["train/loss"] == pytest.approx(measured(run), rel=1e-6)


def test_sums_of_an_older_checkpoint_weigh_as_full_batches(table):
    from dlx.config.compose import compose
    from dlx.parts import assemble

    trainer = assemble(compose([*TABLE, "trainer.device=cpu", "trainer.batch=32"])).trainer
    old = {name: value for name, value in trainer.state_dict().items() if name != "weighed"}
    trainer.load_state_dict({**old, "sums": {"loss": [torch.tensor(6.0), 3]}})
    trainer._accumulate({"loss": torch.tensor(10.0)}, 4)
    total, count = trainer.sums["loss"]
    assert float(total) / float(count) == pytest.approx((3 * 32 * 2 + 4 * 10) / 100)


def measured(run):
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config

    parts, _ = load_trained(run, load_config(run), "last")
    parts.trainer.model, parts.trainer.task, parts.trainer.data = parts.model, parts.task, parts.data
    return parts.trainer.evaluate("train")["loss"]
