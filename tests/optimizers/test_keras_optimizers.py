"""Optimizers and schedules against those of Keras 3, where it is installed, and schedules against torch's."""

import math

import pytest
import torch
from torch import nn

from dlx.errors import UsageError
from dlx.optimizers import schedules
from dlx.optimizers.ftrl import FTRL
from dlx.procedures.schedule import Schedule
from tests.models.oracle import import_keras

STEPS = 40
WEIGHTS = torch.linspace(-1, 1, 6)
GRADIENTS = torch.randn(STEPS, 6, generator=torch.Generator().manual_seed(0))
CASES = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0), {"learning_rate": 0.01}),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=0), {"learning_rate": 0.01, "epsilon": 0}),
    "Adam": (lambda p: torch.optim.Adam(p, lr=0.01), {"learning_rate": 0.01, "epsilon": 1e-8}),
    "AMSGrad": (
        lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
        {"learning_rate": 0.01, "epsilon": 1e-8, "amsgrad": True},
    ),
    "Adamax": (lambda p: torch.optim.Adamax(p, lr=0.01), {"learning_rate": 0.01, "epsilon": 1e-8}),
    "Nadam": (lambda p: torch.optim.NAdam(p, lr=0.01, momentum_decay=1.0), {"learning_rate": 0.01, "epsilon": 1e-8}),
    "Ftrl": (
        lambda p: FTRL(p, lr=0.1, l1=0.1, l2=0.2, shrinkage=0.05, power=0.6, initial=0.3, beta=0.4),
        {
            "learning_rate": 0.1,
            "l1_regularization_strength": 0.1,
            "l2_regularization_strength": 0.2,
            "l2_shrinkage_regularization_strength": 0.05,
            "learning_rate_power": -0.6,
            "initial_accumulator_value": 0.3,
            "beta": 0.4,
        },
    ),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
@pytest.mark.parametrize("name", CASES)
def test_trajectory_equals_keras(name):
    keras = import_keras()
    make, words = CASES[name]
    w = nn.Parameter(WEIGHTS.clone())
    ours, theirs = make([w]), getattr(keras.optimizers, {"AMSGrad": "Adam"}.get(name, name))(**words)
    variable = keras.Variable(WEIGHTS.numpy())
    for gradient in GRADIENTS:
        w.grad = gradient.clone()
        ours.step()
        theirs.apply([keras.ops.convert_to_tensor(gradient.numpy())], [variable])
    torch.testing.assert_close(w.detach(), torch.as_tensor(variable.value).detach().cpu(), rtol=1e-4, atol=1e-5)


def test_ftrl_makes_weights_exactly_zero():
    w = nn.Parameter(WEIGHTS.clone())
    optimizer = FTRL([w], lr=0.1, l1=0.5)
    for _ in range(20):
        w.grad = torch.tensor([1.0, 0.0, 0.0, 0.01, -1.0, 0.0])
        optimizer.step()
    assert (w == 0).sum() == 4
    assert w[0] < 0 < w[4]


# -- schedules -------------------------------------------------------------------------------------------------------


def rates(make, steps=30, base=0.4):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    scheduler, seen = make(optimizer), []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return seen


SCHEDULES = [
    (
        "ExponentialDecay",
        {"decay_steps": 7, "decay_rate": 0.8},
        "ExponentialDecay",
        {"decay_steps": 7, "decay_rate": 0.8},
    ),
    (
        "ExponentialDecay",
        {"decay_steps": 7, "decay_rate": 0.8, "staircase": True},
        "ExponentialDecay",
        {"decay_steps": 7, "decay_rate": 0.8, "staircase": True},
    ),
    (
        "InverseTimeDecay",
        {"decay_steps": 3, "decay_rate": 0.5},
        "InverseTimeDecay",
        {"decay_steps": 3, "decay_rate": 0.5},
    ),
    (
        "InverseTimeDecay",
        {"decay_steps": 3, "decay_rate": 0.5, "staircase": True},
        "InverseTimeDecay",
        {"decay_steps": 3, "decay_rate": 0.5, "staircase": True},
    ),
    (
        "PolynomialDecay",
        {"decay_steps": 9, "end": 0.01, "power": 2.0},
        "PolynomialDecay",
        {"decay_steps": 9, "end_learning_rate": 0.01, "power": 2.0},
    ),
    (
        "PolynomialDecay",
        {"decay_steps": 9, "end": 0.01, "power": 0.5, "cycle": True},
        "PolynomialDecay",
        {"decay_steps": 9, "end_learning_rate": 0.01, "power": 0.5, "cycle": True},
    ),
    (
        "PiecewiseConstantDecay",
        {"boundaries": [3, 10], "values": [0.4, 0.2, 0.1]},
        "PiecewiseConstantDecay",
        {"boundaries": [3, 10], "values": [0.4, 0.2, 0.1]},
    ),
    (
        "CosineRestarts",
        {"first_decay_steps": 5, "t_mul": 1.5, "m_mul": 0.7, "alpha": 0.1},
        "CosineDecayRestarts",
        {"first_decay_steps": 5, "t_mul": 1.5, "m_mul": 0.7, "alpha": 0.1},
    ),
    (
        "CosineRestarts",
        {"first_decay_steps": 5, "t_mul": 1.0},
        "CosineDecayRestarts",
        {"first_decay_steps": 5, "t_mul": 1.0},
    ),
    (
        "Warmup",
        {"warmup": 6, "total": 20, "first": 0.25, "alpha": 0.1},
        "CosineDecay",
        {"initial_learning_rate": 0.1, "warmup_target": 0.4, "warmup_steps": 6, "decay_steps": 14, "alpha": 0.1},
    ),
]


@pytest.mark.parametrize(("ours", "settings", "theirs", "words"), SCHEDULES, ids=lambda value: str(value)[:30])
def test_schedule_equals_keras(ours, settings, theirs, words):
    keras = import_keras()
    if theirs != "PiecewiseConstantDecay":
        words = {"initial_learning_rate": 0.4, **words}
    made = getattr(keras.optimizers.schedules, theirs)(**words)
    expected = [float(made(step)) for step in range(30)]
    assert rates(lambda optimizer: getattr(schedules, ours)(optimizer, **settings)) == pytest.approx(expected, rel=1e-5)


TORCHS = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (
            lambda o: schedules.ExponentialDecay(o, 1, 0.9),
            lambda o: TORCHS.ExponentialLR(o, 0.9),
        ),
        (
            lambda o: schedules.ExponentialDecay(o, 4, 0.9, staircase=True),
            lambda o: TORCHS.StepLR(o, 4, 0.9),
        ),
        (
            lambda o: schedules.PolynomialDecay(o, 12, 0.0, 3.0),
            lambda o: TORCHS.PolynomialLR(o, 12, 3.0),
        ),
        (
            lambda o: schedules.CosineRestarts(o, 4, 2.0),
            lambda o: TORCHS.CosineAnnealingWarmRestarts(o, 4, 2),
        ),
        (
            lambda o: schedules.Warmup(o, 5, None, 0.2),
            lambda o: TORCHS.LinearLR(o, 0.2, 1.0, 5),
        ),
        (
            lambda o: schedules.PiecewiseConstantDecay(o, [3, 9], [0.4, 0.04, 0.004]),
            lambda o: TORCHS.MultiStepLR(o, [4, 10], 0.1),  # torch changes at a milestone, Keras behind a boundary
        ),
        (
            lambda o: schedules.InverseTimeDecay(o, 2, 0.5),
            lambda o: TORCHS.LambdaLR(o, lambda n: 1 / (1 + 0.25 * n)),
        ),
    ],
)
def test_schedule_equals_torch(ours, torchs):
    assert rates(ours) == pytest.approx(rates(torchs), rel=1e-9, abs=1e-15)


def test_warm_up_ends_at_the_lowest_rate():
    seen = rates(lambda o: schedules.Warmup(o, 4, 12, 0.0, 0.25))
    assert seen[0] == 0
    assert seen[4] == 0.4
    assert seen[8] == pytest.approx(0.4 * (0.75 * 0.5 * (1 + math.cos(math.pi / 2)) + 0.25))
    assert seen[12:] == pytest.approx([0.1] * 18)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: schedules.PiecewiseConstantDecay(o, [3], [0.1]), "one value more than these"),
        (lambda o: schedules.PiecewiseConstantDecay(o, [3, 2], [0.1, 0.2, 0.3]), "boundaries that rise"),
        (lambda o: schedules.Warmup(o, 5, 5), "needed: more in total"),
        (lambda o: schedules.CosineRestarts(o, 5, 0.5), "needed: at least 1"),
    ],
)
def test_values_that_do_not_fit(make, message):
    with pytest.raises(UsageError, match=message):
        Schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), make)
