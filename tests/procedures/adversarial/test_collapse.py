"""Signs of a game gone wrong: told where it is, silent where it is not, once each, on the terminal and TensorBoard."""

import pytest
import torch

from dlx.models.adversarial.gan import GAN
from dlx.procedures.adversarial.collapse import WARM_UP, WINDOW, CollapseDetector


def seen(collapse, **values):
    collapse.add_measurements({name: torch.tensor(value) for name, value in values.items()})


def test_samples_that_were_different_and_are_alike():
    collapse = CollapseDetector()
    seen(collapse, diversity=0.9)
    for _ in range(WINDOW - 1):
        seen(collapse, diversity=0.01)
    assert collapse.pop_notices() == [], "not before ten measurements agree"
    seen(collapse, diversity=0.01)
    (line,) = collapse.pop_notices()
    assert "has collapsed: its samples are 0.01 times as far apart" in line
    assert "what helps" in line
    seen(collapse, diversity=0.01)
    assert collapse.pop_notices() == [], "once"


def test_samples_that_were_never_different():
    collapse = CollapseDetector()
    for _ in range(WARM_UP - 1):
        seen(collapse, diversity=0.06)
    assert collapse.pop_notices() == []
    seen(collapse, diversity=0.06)
    assert "collapsed from the beginning" in collapse.pop_notices()[0]


# The diversities of a game on the digits that went well, measured at every 50th update.
SLOW = [
    0.06,
    0.04,
    0.06,
    0.13,
    0.14,
    0.07,
    0.08,
    0.12,
    0.12,
    0.15,
    0.11,
    0.15,
    0.14,
    0.17,
    0.23,
    0.43,
    0.69,
    0.76,
    0.87,
]


@pytest.mark.parametrize("course", [SLOW, [0.6] + [0.01] * 9, [0.7] * 9 + [0.01] * 9 + [0.3], [0.7] * 50])
def test_beginnings_and_single_values_are_no_collapse(course):
    collapse = CollapseDetector()
    for value in course:
        seen(collapse, diversity=value)
        assert collapse.pop_notices() == []


def test_sure():
    collapse = CollapseDetector()
    seen(collapse, generator_gradient_norm=1.0)
    for _ in range(WINDOW):
        seen(collapse, discriminator_accuracy=1.0)
        seen(collapse, generator_gradient_norm=0.5)
    assert collapse.pop_notices() == [], "it learns all the same"
    for _ in range(WINDOW):
        seen(collapse, generator_gradient_norm=1e-5)
    (line,) = collapse.pop_notices()
    assert "faded to 1e-05" in line
    assert "procedure.loss=non_saturating" in line


def test_missing_modes():
    collapse = CollapseDetector()
    collapse.on_validation_end(1, 25, 0.9)
    assert collapse.pop_notices() == [], "fresh weights: all samples are near the origin, where the grid has a mode"
    seen(collapse, diversity=0.6)
    for found, near in ((2, 0.05), (8, 0.9), (5, 0.5)):  # a beginning, and runs that go well
        collapse.on_validation_end(found, 8, near)
        assert collapse.pop_notices() == []
    collapse.on_validation_end(2, 8, 0.9)
    (line,) = collapse.pop_notices()
    assert "onto 2 of the data's 8 modes" in line


def test_missing_modes_are_told_after_the_last_validation(train, monkeypatch):
    monkeypatch.setattr(GAN, "sample", lambda model, n: torch.tensor([[2.0, 0.0]]).expand(n, 2))
    run = train("ring", "model=gan", "dataset=ring", "procedure.watch=2", "trainer.epochs=1")
    assert run.read()["metrics"]["val/modes"] == 1
    assert ["onto 1 of the data's 8 modes" in line for line in run.read()["warnings"]] == [True]


def test_a_resumed_run_says_nothing_twice():
    one, two = CollapseDetector(), CollapseDetector()
    for value in [0.9] + [0.01] * WINDOW:
        seen(one, diversity=value, generator_gradient_norm=1.0)
    assert len(one.pop_notices()) == 1
    seen(one, diversity=0.02)
    two.load_state_dict(one.state_dict())
    assert two.state_dict() == one.state_dict()
    assert two.pop_notices() == []


FORCED = ("model=gan", "procedure.discriminator_lr=1e-6", "procedure.watch=5", "trainer.epochs=12")


def test_a_forced_collapse_is_told(train, capsys):
    """A discriminator that hardly learns: the generator seeks the one point that it likes best."""
    run = train("collapsed", *FORCED, "trainer.validate_every=0")
    line = "has collapsed from the beginning"
    assert line in capsys.readouterr().out
    assert [line in told for told in run.read()["warnings"]] == [True]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.directory))
    events.Reload()
    assert "news" in events.Tags()["tensors"]
    curves = (run.directory / "metrics.jsonl").read_text()
    assert all(f"train/{name}" in curves for name in ("diversity", "discriminator_accuracy", "generator_gradient_norm"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        # Without a penalty this game rotates, its samples pass through one point now and then, and the alarm is right.
        ("model=gan", "dataset=ring", "trainer.epochs=5", "procedure.gradient_penalty=0.1"),
        ("model=dcgan", "model.width=0.1", "trainer.epochs=10"),
    ],
)
def test_no_alarm_where_the_generator_learns(model, train):
    run = train("healthy", *model, "procedure.watch=5", "trainer.validate_every=5", "trainer.batch=32")
    assert "warnings" not in run.read()
    assert run.read()["metrics"]["train/diversity"] > 0.3
