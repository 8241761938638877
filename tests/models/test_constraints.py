"""Constraints and penalties of layers: by hand, against Keras, and in training."""

import pytest
import torch
from torch import nn

from dlx.batch import Batch
from dlx.config.names import NAMES
from dlx.errors import UsageError
from dlx.models.constraints import CONSTRAINTS, make_constraint
from dlx.models.convolutional.cnn import CNN
from dlx.models.layers import ActivityPenalty, Dense, find_constrained, find_penalized
from dlx.models.mlp import MLP
from dlx.procedures.backprop import Backprop
from dlx.tasks.classification import Classification
from tests.models.oracle import import_keras


def batch(seed=0, n=16, shape=(4,)):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, *shape, generator=generator), torch.randint(3, (n,), generator=generator))


def weights(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 2


def norms(w):
    return w.flatten(1).norm(dim=1)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 3)])
def test_what_each_constraint_makes(shape):
    w = weights(*shape)
    for choice, check in (
        ({"max_norm": 1.5}, lambda v: torch.testing.assert_close(norms(v), norms(w).clamp(max=1.5))),
        ("unit_norm", lambda v: torch.testing.assert_close(norms(v), torch.ones(5))),
        ("non_negative", lambda v: torch.testing.assert_close(v, w.clamp(min=0))),
        (
            {"min_max_norm": {"min": 3.0, "max": 4.0, "rate": 0.5}},
            lambda v: torch.testing.assert_close(norms(v), 0.5 * norms(w).clamp(3, 4) + 0.5 * norms(w)),
        ),
    ):
        v = w.clone()
        make_constraint(choice)(v)
        check(v)


def test_a_bias_is_one_vector():
    b = weights(9)
    make_constraint("unit_norm")(b)
    assert b.norm().item() == pytest.approx(1)


CASES = [
    ("max_norm", "MaxNorm", {"max": 1.5}, {"max_value": 1.5}),
    ("unit_norm", "UnitNorm", {}, {}),
    ("non_neg", "NonNeg", {}, {}),
    (
        "min_max_norm",
        "MinMaxNorm",
        {"min": 3.0, "max": 4.0, "rate": 0.3},
        {"min_value": 3.0, "max_value": 4.0, "rate": 0.3},
    ),
]


@pytest.mark.parametrize(("name", "theirs", "settings", "words"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 3)], ids=["dense", "conv"])
def test_equals_keras(name, theirs, settings, words, shape):
    keras = import_keras()
    w = weights(*shape)
    axis = {} if name == "non_neg" else {"axis": list(range(w.ndim - 1))}
    turned = w.permute(*range(2, w.ndim), 1, 0).contiguous()  # Keras's order: window, inputs, units
    expected = torch.as_tensor(getattr(keras.constraints, theirs)(**words, **axis)(turned)).cpu()
    make_constraint({name: settings} if settings else name)(w)
    torch.testing.assert_close(w.permute(*range(2, w.ndim), 1, 0), expected)


def test_every_name_of_the_table_has_its_function():
    assert set(NAMES["constraint"].own) == set(CONSTRAINTS)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("unit_nrm", "did you mean unit_norm"),
        ({"max_norm": {"maximum": 3}}, "its settings are max"),
        ({"max_norm": -1}, "at least 0"),
    ],
)
def test_mistakes_are_named(choice, message):
    with pytest.raises(UsageError, match=message):
        make_constraint(choice)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_constraints_hold_after_every_step_and_not_for_the_scores(kind):
    torch.manual_seed(0)
    settings = {"kernel_constraint": "unit_norm", "bias_constraint": "non_negative"}
    if kind == "mlp":
        model, shape = MLP([4], 3, hidden=[20], **settings), (4,)
    else:
        model, shape = CNN([1, 6, 6], 3, layers=[{"conv": 20}], **settings), (1, 6, 6)
    hidden = model.layers[0]
    assert find_constrained(model) == [hidden]
    procedure = Backprop(lambda p: torch.optim.SGD(p, lr=0.5))
    procedure.bind(model, Classification())
    for seed in range(5):
        procedure.step(batch(seed, shape=shape))
        torch.testing.assert_close(norms(hidden.weight.detach()), torch.ones(20), rtol=1e-5, atol=1e-5)
        assert hidden.bias.min() >= 0
    assert (norms(model.layers[-1].weight.detach()) - 1).abs().max() > 1e-2


def test_frozen_weights_stay_as_they_are():
    layer = Dense(4, 3, kernel_constraint="unit_norm", bias_constraint="unit_norm")
    layer.weight.requires_grad_(False)
    before = layer.weight.clone()
    assert find_constrained(layer) == [layer]
    layer.constrain()
    assert torch.equal(layer.weight, before)
    assert layer.bias.norm().item() == pytest.approx(1)


def test_activity_penalty_by_hand():
    model = MLP([4], 3, hidden=[5, {"units": 6, "activity_l1": 0.0}], activity_l1=0.1, activity_l2=0.2)
    procedure, data = Backprop(lambda p: torch.optim.SGD(p, lr=0.1)), batch()
    procedure.bind(model, Classification())
    model.train()
    first = torch.relu(model.layers[0](data.x))
    second = torch.relu(model.layers[3](first))
    plain = nn.functional.cross_entropy(model(data.x), data.y)
    expected = plain + (0.1 * first.abs().sum() + 0.2 * (first.square().sum() + second.square().sum())) / len(data.x)
    torch.testing.assert_close(procedure.loss(data), expected)
    model.eval()
    model(data.x)
    assert all(one.value is None for one in model.modules() if isinstance(one, ActivityPenalty))


def test_activity_and_kernel_penalties_equal_keras():
    keras = import_keras()
    x = torch.randn(7, 4)
    layer = keras.layers.Dense(
        5,
        activation="tanh",
        kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2),
        bias_regularizer=keras.regularizers.L2(0.3),
        activity_regularizer=keras.regularizers.L1L2(0.4, 0.5),
        bias_initializer="ones",
    )
    layer(x)
    theirs = sum(torch.as_tensor(loss) for loss in layer.losses)
    ours = MLP(
        [4],
        1,
        hidden=[{"units": 5, "l1": 0.1, "l2": 0.2, "bias_l2": 0.3, "activity_l1": 0.4, "activity_l2": 0.5}],
        activation="tanh",
    ).train()
    with torch.no_grad():
        ours.layers[0].weight.copy_(torch.as_tensor(layer.kernel.value).cpu().T)
        ours.layers[0].bias.fill_(1)
    ours(x)
    penalty = sum(module.penalty() for module in find_penalized(ours))
    torch.testing.assert_close(penalty, theirs.detach().cpu(), check_dtype=False, rtol=1e-5, atol=1e-5)
