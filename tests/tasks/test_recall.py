"""Recall and its data: cues are spoilt as asked and alike everywhere, and runs keep what they stored."""

import copy

import numpy as np
import pytest
import torch

from dlx.batch import Batch
from dlx.datasets.synthetic.patterns import Patterns
from dlx.errors import UsageError
from dlx.models.associative.hopfield import Hopfield
from dlx.models.associative.modern_hopfield import ModernHopfield
from dlx.procedures.hebbian import Hebbian
from dlx.tasks.recall import Recall
from dlx.training.checkpoint import load
from tests.conftest import same
from tests.models.associative.test_hopfield import attending, holding, signs


def test_cues_depend_on_the_pattern_alone():
    x = torch.cat([signs(30, 50), signs(1, 50)])  # the first pattern twice
    for options in ({"flip": 0.3}, {"noise": 0.5}, {"flip": 0.1, "mask": 0.2, "noise": 0.1, "seed": 7}):
        spoil = Recall(**{"flip": 0, **options}).corrupt
        together = spoil(x, (50,))
        assert torch.equal(together, torch.cat([spoil(part, (50,)) for part in x.split(7)]))
        assert torch.equal(together[0], together[30])
        assert not torch.equal(together - x, (together - x)[torch.randperm(31)])
    assert torch.equal(x, torch.cat([signs(30, 50), signs(1, 50)])), "patterns stay whole"


def test_cues_are_spoilt_as_much_as_asked():
    x = signs(200, 1000)
    flipped = Recall(flip=0.25).corrupt(x, (1000,)) != x
    assert (flipped.sum(1) == 250).all()
    assert float(flipped.double().mean(0).std()) == pytest.approx((0.25 * 0.75 / 200) ** 0.5, rel=0.1)
    other = Recall(flip=0.25, seed=1).corrupt(x, (1000,)) != x
    assert float((flipped & other).double().mean()) == pytest.approx(0.0625, abs=0.002)
    noise = Recall(flip=0, noise=0.5).corrupt(x, (1000,)) - x
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)
    assert float(noise.std()) == pytest.approx(0.5, rel=0.01)
    assert float((noise.abs() < 0.5).double().mean()) == pytest.approx(0.6827, abs=0.005)
    images = torch.ones(2, 3 * 4 * 5)
    masked = Recall(flip=0, mask=0.5).corrupt(images, (3, 4, 5)).view(2, 3, 4, 5)
    assert masked[:, :, :2].eq(1).all()
    assert masked[:, :, 2:].eq(0).all()
    assert Recall(flip=0, mask=0.3).corrupt(x, (1000,)).eq(0).sum(1).eq(300).all()


@pytest.mark.parametrize("values", ["signs", "normal"])
@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_patterns_are_as_alike_as_asked(values, correlation):
    data = Patterns(20_000, 6, correlation=correlation, values=values, seed=1)
    data.load()
    x = data.splits["train"].x
    products = x @ x.T / 20_000
    pairs = products[torch.triu_indices(6, 6, 1).unbind()]
    assert float(pairs.mean()) == pytest.approx(correlation, abs=0.02)
    assert torch.allclose(products.diagonal(), torch.ones(6), atol=0.05)
    few = Patterns(20_000, 6, correlation=correlation, values=values, seed=1, limit=2)
    few.load()
    for split in ("val", "test"):
        assert same(sorted(x.tolist()), sorted(data.splits[split].x.tolist()))
        assert len(few.splits[split].x) == 2


def test_data_without_negative_values_becomes_signs_and_comes_back():
    x = torch.tensor([[0.0, 0.49, 0.5, 1.0]])
    memory, modern = Hopfield([4]), ModernHopfield([4])
    for one in (memory, modern):
        one.prepare(x)
    assert memory.states(x).tolist() == [[-1, -1, 1, 1]]
    assert memory.values(memory.states(x)).tolist() == [[0, 0, 1, 1]]
    assert torch.allclose(modern.values(modern.states(x)), x)
    centred = ModernHopfield([4])
    centred.prepare(x - 0.5)
    assert torch.equal(centred.states(x - 0.5), x - 0.5)


def test_a_memory_is_asked_for_what_it_stored(train):
    options = ("model=modern_hopfield", "dataset=digits", "dataset.limit=40", "dataset.binarize=threshold")
    stored = train("stored", *options).read()
    assert stored["examples"] == {"train": 40, "val": 40, "test": 40}
    assert stored["metrics"]["test/overlap"] > 0.9
    split = train("split", *options, "task.ask=split").read()
    assert split["examples"]["test"] == 359
    assert split["metrics"]["test/exact"] < 0.1 < stored["metrics"]["test/exact"]


@pytest.mark.parametrize("model", ["hopfield", "modern_hopfield"])
def test_a_pass_that_was_cut_off_goes_on(model, train, resume):
    options = (f"model={model}", "dataset.neurons=60", "dataset.patterns=9", "trainer.batch=2", "trainer.epochs=3")
    straight = train("straight", *options)
    stopped = train("stopped", *options, "trainer.max_steps=3")
    assert load(stopped.checkpoints / "last.pt")["procedure"]["done"] is False
    resume(stopped, trainer__max_steps=None)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert one["trainer"]["epoch"] == 1, "one pass is all"
    assert same(one["model"], two["model"])
    assert straight.read()["metrics"] == stopped.read()["metrics"]


def test_predictions_are_recalled_from_the_examples():
    x = signs(4, 100)
    cue = x.clone()
    cue[:, :9] *= -1
    for memory in (holding(x), attending(x)):
        told = Recall().predictions(memory, cue)
        assert torch.allclose(told["recalled"], x)
        assert torch.equal(told["energy"], memory.energy(memory.states(told["recalled"])))
        assert torch.equal(Recall().predict(memory, cue), told["recalled"])


def test_a_larger_memory_loads_into_an_empty_one():
    memory = attending(signs(6, 10))
    again = ModernHopfield([10])
    again.load_state_dict(copy.deepcopy(memory.state_dict()))
    assert torch.equal(again.patterns, memory.patterns)


def test_vectors_of_more_than_two_values_are_for_the_modern_network(train):
    with pytest.raises(UsageError, match=r"an element of iris up to \d\d; needed: signs or bits; type model=modern"):
        train("lines", "model=hopfield", "dataset=iris")
    assert train("modern", "model=modern_hopfield", "dataset=iris").read()["metrics"]["train/patterns"] == 108
    with pytest.raises(UsageError, match=r"type dataset\.values=signs or model=modern_hopfield, which keeps real"):
        train("normal", "model=hopfield", "dataset.values=normal", "dataset.patterns=5")


def test_bits_are_signs_whatever_their_scale(train):
    bits = np.random.default_rng(0).random((40, 5)) < 0.3
    np.savez("bits.npz", x=bits)
    of = ("model=hopfield", "dataset=npz", "dataset.path=bits.npz", "dataset.val=0", "dataset.test=0")
    s = 2.0 * bits - 1
    W = s.T @ s / 5 * (1 - np.eye(5))
    for scale in ("none", "standard", "minmax"):
        run = train(scale, *of, f"dataset.scale={scale}")
        assert np.allclose(load(run.checkpoints / "last.pt")["model"]["W"], W)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="modern_hopfield"):
        Hopfield([3, 96, 96])
    with pytest.raises(UsageError, match="recall"):
        Recall().metrics(torch.nn.Linear(2, 2), Batch(torch.zeros(1, 2)))
    with pytest.raises(UsageError, match="gather, store"):
        Hebbian().bind(torch.nn.Linear(2, 2), Recall())
