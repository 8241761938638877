"""Activations by name against torch's modules, formulas and Keras."""

import warnings

import pytest
import torch
from torch import nn

from dlx.config.names import NAMES
from dlx.errors import UsageError
from dlx.models.activations import ACTIVATIONS, make_activation
from tests.models.oracle import import_keras

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
FORMULAS = {
    "swish": lambda x: x / (1 + (-x).exp()),
    "exponential": torch.exp,
    "softplus": lambda x: (1 + x.exp()).log(),
    "softmax": lambda x: x.exp() / x.exp().sum(-1, keepdim=True),
    "log_softmax": lambda x: x - x.exp().sum(-1, keepdim=True).log(),
    "linear": lambda x: x,
    "LeakyReLU": lambda x: torch.where(x > 0, x, 0.01 * x),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's Softmax() warns
        torch.testing.assert_close(make_activation(name)(X), FORMULAS[name](X))


def test_settings():
    torch.testing.assert_close(make_activation({"leaky_relu": 0.3})(X), torch.where(X > 0, X, 0.3 * X))
    torch.testing.assert_close(
        make_activation({"leaky_relu": {"negative_slope": 0.2}})(X), torch.where(X > 0, X, 0.2 * X)
    )
    torch.testing.assert_close(make_activation({"elu": {"alpha": 2.0}})(X), nn.ELU(2.0)(X))
    torch.testing.assert_close(make_activation({"softmax": {"dim": 0}})(X), X.softmax(0))
    maps = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(make_activation("softmax")(maps), maps.softmax(1))


NEEDS_SETTINGS = ("threshold",)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in NEEDS_SETTINGS])
def test_every_name_makes_a_module(name):
    x = torch.randn(2, 4, 2, 2)
    assert make_activation(name).eval()(x).shape[0] == 2


def test_every_activation_of_torch_is_there():
    there = {name.replace("_", "") for name in NAMES["activation"].own}
    assert {name.lower() for name in nn.modules.activation.__all__} - there == {"multiheadattention"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("swishh", "did you mean swish"),
        ({"leaky_relu": {"slope": 1}}, "its settings are negative_slope"),
        ("threshold", "activation threshold needs its settings"),
        (3, "was given"),
    ],
)
def test_mistakes_are_named(choice, message):
    with pytest.raises(UsageError, match=message):
        make_activation(choice)


KERAS = [
    "relu",
    "relu6",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "swish",
    "mish",
    "sigmoid",
    "hard_sigmoid",
    "log_sigmoid",
    "tanh",
    "hard_tanh",
    "softplus",
    "softsign",
    "exponential",
    "softmax",
    "log_softmax",
    "hard_silu",
    "hard_swish",
    "hard_shrink",
    "soft_shrink",
    "tanh_shrink",
    "linear",
]


@pytest.mark.parametrize("name", KERAS)
def test_equals_keras(name):
    keras = import_keras()
    theirs = torch.as_tensor(getattr(keras.activations, name)(X.float())).cpu()
    torch.testing.assert_close(make_activation(name)(X.float()), theirs, rtol=1e-5, atol=1e-6)


def test_leaky_slope_equals_keras():
    keras = import_keras()
    theirs = torch.as_tensor(keras.activations.leaky_relu(X.float(), negative_slope=0.2)).cpu()
    torch.testing.assert_close(make_activation({"leaky_relu": 0.2})(X.float()), theirs)
