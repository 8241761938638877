"""Schedules over the run end with it, whichever of trainer.epochs and trainer.max_steps ends it."""

import math

import pytest
from omegaconf import OmegaConf

from dlx.training.checkpoint import load
from dlx.training.length import Length, plan_length
from tests.conftest import ROOT, same
from tests.test_registry import curves

SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))
TEN_STEPS = ("dataset.limit=100", "trainer.batch=10", "optimizer=momentum", "model.hidden=[8]", "trainer.test=false")
CASES = {
    **{name: (f"scheduler={name}",) for name in SCHEDULERS},
    "warmup": ("scheduler=warmup", "scheduler.warmup=1"),
    "momentum_ramp_total": ("scheduler=momentum_ramp", "scheduler.total=${trainer.epochs}"),
    "step_over_the_run": ("scheduler=step", "scheduler.step_size=${trainer.epochs}"),
    "accumulated": ("scheduler=one_cycle", "procedure.accumulate=3"),
}


@pytest.mark.parametrize("case", CASES)
def test_schedules_of_one_length_are_alike(case, train):
    short = (*TEN_STEPS, *CASES[case])
    epochs = train("epochs", *short, "trainer.epochs=4")
    assert epochs.read()["step"] == 40
    steps = train("steps", *short, "trainer.epochs=30", "trainer.max_steps=40")
    assert steps.read()["step"] == 40
    one, two = (load(run.checkpoints / "last.pt") for run in (epochs, steps))
    assert same(one["model"], two["model"])
    assert curves(epochs) == curves(steps)
    kept = OmegaConf.load(steps.directory / "config.yaml").scheduler
    assert 30 not in kept.values(), "what is saved is what was used"


def test_cosine_ends_near_zero_and_one_cycle_at_its_least_within_an_epoch(train):
    cosine = train("a", *TEN_STEPS, "scheduler=cosine", "optimizer.lr=1", "trainer.max_steps=45")
    rates = [value for (_, name), value in sorted(curves(cosine).items()) if name == "train/lr"]
    assert rates == pytest.approx([(1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(1, 5)])
    cycle = train("b", *TEN_STEPS, "scheduler=one_cycle", "trainer.max_steps=45")
    schedule = load(cycle.checkpoints / "last.pt")["procedure"]["schedule"]
    assert schedule["total_steps"] == 45
    assert schedule["_last_lr"][0] < 1e-2 / 25


def test_pretraining_takes_its_part_of_the_steps(train):
    run = train(
        "a",
        *TEN_STEPS[:2],
        "model=stacked_autoencoder",
        "model.hidden=[6,4]",
        "procedure.pretrain.epochs=1",
        "scheduler=cosine",
        "trainer.epochs=50",
        "trainer.max_steps=50",
    )
    assert OmegaConf.load(run.directory / "config.yaml").scheduler.T_max == 3


@pytest.mark.parametrize("max_steps", [None, 1, 9, 10, 11, 39, 40, 41])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_length_is_what_the_loop_does(max_steps, accumulate):
    """Counted by a loop as the trainer's."""
    begun, updates, taken = 0, 0, 0
    for _ in range(4):
        if taken == max_steps:
            break
        begun, waiting = begun + 1, 0
        for _ in range(10):
            taken, waiting = taken + 1, waiting + 1
            if waiting == accumulate:
                updates, waiting = updates + 1, 0
            if taken == max_steps:
                break
        else:
            updates += waiting > 0
            continue
        updates += waiting > 0 and taken % 10 == 0
    each = -(-10 // accumulate)
    is_cut = max_steps is not None and max_steps < 40
    assert plan_length(4, max_steps, 10, accumulate) == Length(begun, each, max(updates, 1), is_cut)
