"""The multilayer perceptron: its layers against torch's and Keras's definitions."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.instantiate import build
from dlx.models.layers import INITIALIZERS, Dense, find_constrained, find_penalized, initialize, make_activation
from dlx.models.mlp import MLP
from dlx.procedures.backprop import Backprop
from dlx.tasks.classification import Classification


def batch(n=32, shape=(4,), classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, *shape, generator=generator), torch.randint(0, classes, (n,), generator=generator))


# -- the network -----------------------------------------------------------------------------------------------------


def test_forward_equals_a_sequence_written_by_hand():
    torch.manual_seed(0)
    model = MLP([1, 8, 8], 10, hidden=[32, {"units": 16, "activation": "tanh"}, {"units": 8, "activation": None}])
    layers = [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 8), nn.Linear(8, 10)]
    by_hand = nn.Sequential(nn.Flatten(), *layers)
    for one, two in zip(by_hand.parameters(), model.parameters(), strict=True):
        one.data = two.data.clone()
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(model(x), by_hand(x), rtol=0, atol=0)
    assert sum(p.numel() for p in model.parameters()) == 64 * 32 + 32 + 32 * 16 + 16 + 16 * 8 + 8 + 8 * 10 + 10


def test_no_hidden_layer_is_softmax_regression():
    model = MLP([3], 2, hidden=[])
    x = torch.randn(4, 3)
    torch.testing.assert_close(model(x), F.linear(x, *model.parameters()))


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "leaky_relu", "LeakyReLU", "elu", "softplus"])
def test_activations_by_name(name):
    x = torch.linspace(-2, 2, 9)
    function = getattr(torch, name, None) or getattr(F, {"LeakyReLU": "leaky_relu"}.get(name, name))
    torch.testing.assert_close(make_activation(name)(x), function(x))


def test_dropout_while_learning_and_not_in_evaluation():
    torch.manual_seed(0)
    model = MLP([1000], 1, hidden=[], input_dropout=0.25)
    dense = model.layers[-1]
    initialize(dense.weight, 1.0)
    initialize(dense.bias, 0.0)
    x = torch.ones(200, 1000)
    kept = model(x) / 1000  # each input is kept with probability 3/4 and scaled by 4/3
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    assert kept.std().item() == pytest.approx(math.sqrt(0.25 / 0.75 / 1000), rel=0.2)
    model.eval()
    assert torch.equal(model(x), torch.full((200, 1), 1000.0))
    model = MLP([10], 2, hidden=[50, {"units": 40, "dropout": 0.0}, 30], dropout=0.5).train()
    assert [type(layer).__name__ for layer in model.layers].count("Dropout") == 2
    assert not torch.equal(model(x[:, :10]), model(x[:, :10]))
    model.eval()
    assert torch.equal(model(x[:, :10]), model(x[:, :10]))


def test_batch_norm_stands_before_the_activation():
    torch.manual_seed(0)
    model = MLP([4], 3, hidden=[8], batch_norm=True)
    data = batch(64)
    dense, norm, act, out = model.layers
    a = dense(data.x)
    by_hand = out(torch.relu((a - a.mean(0)) / torch.sqrt(a.var(0, unbiased=False) + norm.eps)))
    torch.testing.assert_close(model(data.x), by_hand)
    assert isinstance(act, nn.ReLU)
    model.eval()  # the running means, one step of 0.1 from 0 and 1
    by_hand = out(torch.relu((a - 0.1 * a.mean(0)) / torch.sqrt(0.9 + 0.1 * a.var(0) + norm.eps)))
    torch.testing.assert_close(model(data.x), by_hand)


# -- initializers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(256, 256), (256, 64), (10, 256), (1024, 784)])
def test_orthogonal(size):
    torch.manual_seed(0)
    W = torch.empty(size)
    initialize(W, "orthogonal")
    W = W if size[0] >= size[1] else W.T
    assert (W.T.double() @ W.double() - torch.eye(W.shape[1])).abs().max() < 1e-6


VARIANCES = {
    "xavier_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "xavier_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_uniform": lambda fan_in, fan_out: 2 / fan_in,
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "default": lambda fan_in, fan_out: 1 / (3 * fan_in),  # torch's: uniform within 1/√fan_in
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variances(name):
    torch.manual_seed(0)
    W = MLP([400], 2, hidden=[600], kernel_init=name).layers[0].weight.detach()
    variance = VARIANCES[name](400, 600)
    assert W.mean().abs() < 5 * math.sqrt(variance / W.numel())
    assert W.var().item() == pytest.approx(variance, rel=0.02)
    if "uniform" in name:
        assert W.abs().max().item() == pytest.approx(math.sqrt(3 * variance), rel=1e-3)
    elif "normal" in name:
        assert ((W / math.sqrt(variance)) ** 4).mean().item() == pytest.approx(3, rel=0.05)


def test_constants():
    model = MLP([4], 2, hidden=[5, {"units": 6, "kernel_init": "ones"}], kernel_init="zeros", bias_init=2.0)
    first, _, second, _, last = model.layers
    assert not first.weight.any()
    assert (second.weight == 1).all()
    assert not last.weight.any()
    assert all((layer.bias == 2).all() for layer in (first, second, last))


# -- penalties and constraints ---------------------------------------------------------------------------------------


def test_penalties_are_those_of_keras():
    """λ Σ|w| and λ Σ w², without a ½, on kernel and bias apart."""
    layer = Dense(2, 2, l1=0.1, l2=0.01, bias_l1=0.3, bias_l2=0.03)
    layer.weight.data = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    layer.bias.data = torch.tensor([-1.0, 0.5])
    penalty = layer.penalty()
    expected = 0.1 * (1 + 2 + 3) + 0.01 * (1 + 4 + 9) + 0.3 * 1.5 + 0.03 * 1.25
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    kernel, bias = torch.autograd.grad(penalty, [layer.weight, layer.bias])
    torch.testing.assert_close(kernel, torch.tensor([[0.1 + 0.02, -0.1 - 0.04], [0.0, 0.1 + 0.06]]))
    torch.testing.assert_close(bias, torch.tensor([-0.3 - 0.06, 0.3 + 0.03]))


def test_penalties_reach_the_loss_and_only_where_asked():
    model = MLP([4], 3, hidden=[5, {"units": 6, "l1": 0.2}], bias_l2=0.5, output={"l2": 0.1})
    first, _, second, _, last = model.layers
    procedure, data = Backprop(lambda p: torch.optim.SGD(p, lr=0.1)), batch()
    procedure.bind(model, Classification())
    expected = (
        F.cross_entropy(model(data.x), data.y) + 0.2 * second.weight.abs().sum() + 0.1 * last.weight.square().sum()
    )
    expected = expected + 0.5 * sum(layer.bias.square().sum() for layer in (first, second, last))
    torch.testing.assert_close(procedure.loss(data), expected)
    assert find_penalized(MLP([4], 3)) == []
    # The task's metrics are without penalties, so that networks with different ones compare.
    assert Classification().metrics(model, data)["loss"].mean().item() == pytest.approx(
        F.cross_entropy(model(data.x), data.y).item(), rel=1e-6
    )


def test_max_norm_bounds_each_unit_after_every_step():
    torch.manual_seed(0)
    model = MLP([4], 3, hidden=[50], max_norm=0.5, kernel_init="he_normal")
    hidden, out = model.layers[0], model.layers[2]
    before = hidden.weight.detach().clone()
    assert find_constrained(model) == [hidden], "the last layer has no bound"
    hidden.constrain()
    norms = before.norm(dim=1, keepdim=True)
    torch.testing.assert_close(hidden.weight.detach(), before * (0.5 / norms).clamp(max=1), rtol=1e-5, atol=1e-7)
    procedure = Backprop(lambda p: torch.optim.SGD(p, lr=1.0))
    procedure.bind(model, Classification())
    for seed in range(20):
        procedure.step(batch(seed=seed))
        assert hidden.weight.norm(dim=1).max() <= 0.5 + 1e-5
    assert out.weight.norm(dim=1).max() > 0.5


# -- bad values ------------------------------------------------------------------------------------------------------

BAD = [
    ({"activation": "reluu"}, "reluu"),
    ({"hidden": [{"units": 5, "activation": "swoosh"}]}, "swoosh"),
    ({"kernel_init": "glorot"}, "glorot"),
    ({"bias_init": "nought"}, "nought"),
    ({"output": {"kernel_init": "glorot"}}, "glorot"),
    ({"output": {"units": 3}}, "model.output was given units"),
    ({"dropout": -0.1}, "-0.1"),
    ({"hidden": [{"units": 5, "dropout": 1.5}]}, "1.5"),
    ({"hidden": [0]}, r"hidden\[0\] was given units 0"),
    ({"hidden": [5, -3]}, r"hidden\[1\] was given units -3"),
    ({"hidden": [{"activation": "relu"}]}, r"hidden\[0\] was given units null"),
    ({"hidden": [{"units": 4, "l3": 1}]}, r"hidden\[0\] was given l3"),
    ({"hidden": ["many"]}, "many"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_values_are_named(values, message):
    config = OmegaConf.create({"model": {"_target_": "dlx.models.mlp.MLP", "shape": [4], "outputs": 3, **values}})
    with pytest.raises(UsageError, match=message):
        build(config, "model")


def test_every_initializer_is_offered_in_the_message():
    with pytest.raises(UsageError) as error:
        initialize(torch.empty(2, 2), "kaiming")
    assert all(name in str(error.value) for name in INITIALIZERS)


# -- the deck's two programs -----------------------------------------------------------------------------------------


def parts_of(*overrides):
    from dlx.config.compose import compose
    from dlx.parts import assemble

    return assemble(compose(["trainer.device=cpu", "trainer.threads=1", *overrides]))


def test_the_decks_keras_program_step_by_step():
    """Three Dense(256) and the scores; L1 on the second kernel, L2 on its bias; Adam 0.01 on batches of 32."""
    parts = parts_of("experiment=deck_keras")
    dense = [layer for layer in parts.model.modules() if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in dense] == [(256, 64), (256, 256), (256, 256), (10, 256)]
    assert [float(layer.bias.detach().unique()) for layer in dense] == [0, 0, 2, 0]
    W = dense[2].weight.detach()
    assert (W.T @ W - torch.eye(256)).abs().max() < 1e-5
    for layer, bound in ((dense[0], 6 / (64 + 256)), (dense[1], 6 / 512), (dense[3], 6 / 266)):  # Glorot's
        assert layer.weight.abs().max().item() == pytest.approx(math.sqrt(bound), rel=0.02)
    assert (parts.trainer.epochs, parts.trainer.batch) == (100, 32)
    layers = [nn.Linear(64, 256), nn.Linear(256, 256), nn.Linear(256, 256), nn.Linear(256, 10)]
    by_hand = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), *layers[1:])
    with torch.no_grad():
        for one, two in zip(by_hand.parameters(), parts.model.parameters(), strict=True):
            one.copy_(two)
    adam = torch.optim.Adam(by_hand.parameters(), lr=0.01)
    for _, data in zip(range(10), parts.data.train(0), strict=False):
        assert data.x.shape == (32, 1, 8, 8)
        loss = parts.procedure.step(data)["loss"]
        cost = F.cross_entropy(by_hand(data.x), data.y)
        cost = cost + 0.01 * layers[1].weight.abs().sum() + 0.01 * layers[1].bias.square().sum()
        adam.zero_grad()
        cost.backward()
        adam.step()
        torch.testing.assert_close(loss, cost.detach(), rtol=1e-4, atol=1e-5)
    for one, two in zip(by_hand.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_the_decks_low_level_program_against_its_equations():
    """Twenty epochs of full-batch gradient descent, the gradients by the chain rule in float64."""
    parts = parts_of("experiment=deck_low_level")
    assert {name: len(split) for name, split in parts.dataset.splits.items()} == {"train": 1438, "test": 359}
    assert (parts.trainer.epochs, parts.trainer.batch, parts.data.steps) == (1000, "full", 1)
    assert (parts.trainer.validate_every, parts.trainer.splits) == (10, ["train", "test"])
    W1, b1, W2, b2, W3, b3 = (p.detach().double().numpy().copy() for p in parts.model.parameters())
    assert not b1.any()
    assert not b2.any()
    assert not b3.any()
    (data,) = parts.data.train(0)
    X, Y = data.x.flatten(1).double().numpy(), F.one_hot(data.y, 10).double().numpy()
    for _ in range(20):
        h1 = np.maximum(X @ W1.T + b1, 0)
        h2 = np.maximum(h1 @ W2.T + b2, 0)
        scores = h2 @ W3.T + b3
        shares = np.exp(scores - scores.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        cost = -np.log(shares[Y == 1]).mean()
        d3 = (shares - Y) / len(X)
        d2 = d3 @ W3 * (h2 > 0)
        d1 = d2 @ W2 * (h1 > 0)
        for w, slope in ((W3, d3.T @ h2), (W2, d2.T @ h1), (W1, d1.T @ X), (b3, d3), (b2, d2), (b1, d1)):
            w -= 0.01 * (slope if w.ndim == 2 else slope.sum(0))
        assert parts.procedure.step(data)["loss"].item() == pytest.approx(cost, rel=1e-5)
    for p, w in zip(parts.model.parameters(), (W1, b1, W2, b2, W3, b3), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-3, atol=1e-5)
