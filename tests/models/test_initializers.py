"""Initializers: distributions by their moments and by Kolmogorov and Smirnov's test, and against Keras's numbers."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from dlx.config.names import NAMES
from dlx.errors import UsageError
from dlx.models.initializers import INITIALIZERS, TRUNCATED_STD, count_fans, initialize
from tests.models.oracle import import_keras

UNITS, INCOMING = 300, 200


def draw(how, shape=(UNITS, INCOMING)):
    torch.manual_seed(0)
    w = torch.empty(shape)
    initialize(w, how)
    return w


def cut(std):
    """Return the distribution of normal numbers cut at two standard deviations, so that its own is `std`."""
    scale = std / TRUNCATED_STD
    return stats.truncnorm(-2, 2, scale=scale)


def even(std):
    return stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)


def fan(n):
    return math.sqrt(1 / n)


AVERAGE = (UNITS + INCOMING) / 2
DISTRIBUTIONS = [
    ("normal", stats.norm(0, 0.05)),
    ({"normal": {"std": 2.0, "mean": 1.0}}, stats.norm(1, 2)),
    ({"normal": 0.3}, stats.norm(0, 0.3)),
    ("truncated_normal", stats.truncnorm(-2, 2, scale=0.05)),
    ({"truncated_normal": {"std": 0.2, "mean": -1.0}}, stats.truncnorm(-2, 2, loc=-1, scale=0.2)),
    ("uniform", stats.uniform(-0.05, 0.1)),
    ({"uniform": {"low": 0.0, "high": 3.0}}, stats.uniform(0, 3)),
    ("variance_scaling", cut(fan(INCOMING))),
    ({"variance_scaling": {"scale": 3.0, "mode": "fan_out", "distribution": "normal"}}, stats.norm(0, math.sqrt(0.01))),
    ({"variance_scaling": {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform"}}, even(math.sqrt(2 / AVERAGE))),
    ("lecun_uniform", even(fan(INCOMING))),
    ("lecun_normal", cut(fan(INCOMING))),
    ("xavier_uniform", even(fan(AVERAGE))),
    ("glorot_uniform", even(fan(AVERAGE))),
    ("xavier_normal", stats.norm(0, fan(AVERAGE))),
    ("glorot_normal", cut(fan(AVERAGE))),
    ("he_uniform", even(math.sqrt(2) * fan(INCOMING))),
    ("he_normal", stats.norm(0, math.sqrt(2) * fan(INCOMING))),
    ({"he_normal": {"truncated": True}}, cut(math.sqrt(2) * fan(INCOMING))),
]


@pytest.mark.parametrize(("how", "expected"), DISTRIBUTIONS, ids=lambda value: str(value)[:60])
def test_distribution(how, expected):
    w = draw(how).flatten().double().numpy()
    assert stats.kstest(w, expected.cdf).pvalue > 0.01
    assert w.std() == pytest.approx(expected.std(), rel=0.02)
    assert w.min() >= expected.support()[0]
    assert w.max() <= expected.support()[1] + 1e-6


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal", "he_uniform", "he_normal", "orthogonal"])
def test_torchs_own_numbers_bit_by_bit(name):
    """What earlier versions drew by torch's functions is drawn still."""
    torchs = {
        "xavier_uniform": nn.init.xavier_uniform_,
        "xavier_normal": nn.init.xavier_normal_,
        "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "orthogonal": nn.init.orthogonal_,
    }[name]
    for shape in ((7, 5), (13, 3, 3, 5), (31, 17)):
        torch.manual_seed(0)
        w = torch.empty(shape)
        torchs(w)
        assert torch.equal(draw(name, shape), w)


def test_constants_and_identity():
    assert not draw("zeros", (3, 4)).any()
    assert (draw("ones", (3,)) == 1).all()
    assert (draw({"constant": 0.25}, (3,)) == 0.25).all()
    assert (draw(-2, (3,)) == -2).all()
    assert torch.equal(draw({"identity": {"gain": 3.0}}, (4, 6)), 3 * torch.eye(4, 6))
    kernel, x = draw("identity", (2, 2, 3, 3)), torch.randn(1, 2, 5, 5)
    torch.testing.assert_close(nn.functional.conv2d(x, kernel, padding=1), x)
    w = draw({"orthogonal": 2.0}, (30, 20)).double()
    torch.testing.assert_close(w.T @ w, 4 * torch.eye(20).double(), atol=1e-5, rtol=0)


def test_fans_of_a_filter_and_of_a_bias():
    assert count_fans(torch.empty(8, 3, 5, 5)) == (75, 200)
    assert count_fans(torch.empty(6)) == (6, 6)
    assert draw("xavier_uniform", (6,)).abs().max() <= 1 / math.sqrt(2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("glorot_unifrom", "did you mean glorot_uniform"),
        ("kaimin", "kaiming_"),
        ({"normal": {"sd": 1}}, "its settings are std, mean"),
        ({"zeros": 3}, "it has no settings"),
        ({"variance_scaling": {"mode": "fan"}}, "mode is one of fan_in"),
        ({"normal": {"std": "wide"}}, "initializer normal was given"),
        (True, "was given"),
    ],
)
def test_mistakes_are_named(how, message):
    with pytest.raises(UsageError, match=message):
        initialize(torch.empty(3, 3), how)


@pytest.mark.parametrize("how", ["orthogonal", "identity"])
def test_a_bias_that_cannot_begin_so(how):
    with pytest.raises(UsageError, match=r"weights of shape \(3,\)"):
        initialize(torch.empty(3), how)


def test_every_name_of_the_table_has_its_function():
    names = NAMES["initializer"]
    assert set(names.own) == set(INITIALIZERS)
    for foreign in names.foreign:
        initialize(torch.empty(4, 4), foreign)


KERAS = {
    "random_normal": "RandomNormal",
    "truncated_normal": "TruncatedNormal",
    "random_uniform": "RandomUniform",
    "variance_scaling": "VarianceScaling",
    "glorot_uniform": "GlorotUniform",
    "glorot_normal": "GlorotNormal",
    "he_uniform": "HeUniform",
    "he_normal": "HeNormal",
    "lecun_uniform": "LecunUniform",
    "lecun_normal": "LecunNormal",
}


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("shape", [(UNITS, INCOMING), (40, 30, 5, 5)], ids=["dense", "conv"])
def test_distribution_is_that_of_keras(name, shape):
    keras = import_keras()
    ours = draw({"he_normal": {"truncated": True}} if name == "he_normal" else name, shape)
    there = (*shape[2:], shape[1], shape[0])  # Keras's order: window, inputs, units
    theirs = torch.as_tensor(getattr(keras.initializers, KERAS[name])(seed=1)(there)).detach().cpu()
    assert stats.ks_2samp(ours.flatten().numpy(), theirs.flatten().numpy()).pvalue > 0.01
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.02)
