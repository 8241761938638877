"""LeNet-5: sizes by arithmetic, numbers against networks and layers written by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.lenet5.layers import (
    TABLE,
    RadialBasis,
    ScaledTanh,
    SparseConvolution,
    Subsampling,
    make_codes,
)
from dlx.models.convolutional.lenet5.lenet5 import LeNet5
from dlx.trained.summary import trace


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32)])
def test_61706_parameters(shape):
    c1, c3, c5, f6, output = 6 * (25 + 1), 16 * (6 * 25 + 1), 120 * (400 + 1), 84 * (120 + 1), 10 * (84 + 1)
    assert c1 + c3 + c5 + f6 + output == 61706
    assert parameters(LeNet5(shape, 10)) == 61706


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 40, 33)])
@pytest.mark.parametrize(("activation", "act"), [("relu", nn.ReLU), ("tanh", nn.Tanh)])
@pytest.mark.parametrize(("pooling", "pool"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d)])
def test_forward_equals_a_network_written_by_hand(shape, activation, act, pooling, pool):
    torch.manual_seed(0)
    model = LeNet5(shape, 7, activation=activation, pooling=pooling)
    channels, height, width = shape
    margin = nn.ZeroPad2d(2 if height == 28 else 0)
    maps = {28: 5, 32: 5, 40: 7, 33: 5}
    layers = [margin, nn.Conv2d(channels, 6, 5), act(), pool(2), nn.Conv2d(6, 16, 5), act(), pool(2), nn.Flatten()]
    dense = [nn.Linear(16 * maps[height] * maps[width], 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, 7)]
    by_hand = nn.Sequential(*layers, *dense)
    with torch.no_grad():
        for one, two in zip(by_hand.parameters(), model.parameters(), strict=True):
            one.copy_(two)
    x = torch.randn(3, *shape)
    torch.testing.assert_close(model(x), by_hand(x), rtol=1e-5, atol=1e-6)


def test_names_are_the_papers():
    model = LeNet5((1, 28, 28), 10)
    assert [name for name, _ in model.features.named_children() if "act" not in name] == ["c1", "s2", "c3", "s4"]
    assert [name for name, _ in model.classifier.named_children() if "act" not in name] == ["c5", "f6", "output"]
    x, sizes = torch.zeros(1, 1, 28, 28), []
    for layer in model.features:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes[::3] == [(6, 28, 28), (16, 10, 10)]
    assert sizes[2::3] == [(6, 14, 14), (16, 5, 5)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32)])
def test_the_papers_60000_parameters(shape):
    c1, s2, c3, s4, c5, f6 = 6 * (25 + 1), 6 * 2, 60 * 25 + 16, 16 * 2, 120 * (400 + 1), 84 * (120 + 1)
    assert (c1, s2, c3, s4, c5, f6) == (156, 12, 1516, 32, 48120, 10164)  # §II-B, one by one
    model = LeNet5(shape, 10, "paper")
    assert parameters(model) == 60000
    assert [parameters(layer) for layer in model.features if parameters(layer)] == [c1, s2, c3, s4]
    assert [parameters(layer) for layer in model.classifier if parameters(layer)] == [c5, f6]


@pytest.mark.parametrize("variant", ["modern", "paper"])
def test_multiply_adds(variant):
    c1, c3, c5, f6, output = 6 * 25 * 28**2, 96 * 25 * 10**2, 400 * 120, 120 * 84, 84 * 10
    with torch.device("meta"):
        found = trace(LeNet5((1, 28, 28), 10, variant).eval(), torch.zeros(1, 1, 28, 28))
    assert found.macs == c1 + c3 + c5 + f6 + output
    assert round(found.macs / 1e6, 2) == 0.42


def test_table_of_connections():
    """Table I: by threes in a row, by fours in a row, by fours in two pairs, all; each map of S2 is seen by ten."""
    assert sum(map(len, TABLE)) == 60
    assert [set(seen) for seen in TABLE[:6]] == [{(start + i) % 6 for i in range(3)} for start in range(6)]
    assert [set(seen) for seen in TABLE[6:12]] == [{(start + i) % 6 for i in range(4)} for start in range(6)]
    assert [set(range(6)) - set(seen) for seen in TABLE[12:]] == [{2, 5}, {0, 3}, {1, 4}, set()]
    assert [sum(below in seen for seen in TABLE) for below in range(6)] == [10] * 6


def test_sparse_convolution_map_by_map():
    torch.manual_seed(0)
    layer = SparseConvolution(TABLE, 5).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    out, kernels = layer(x), iter(layer.weight)
    for number, seen in enumerate(TABLE):
        expected = layer.bias[number] + sum(F.conv2d(x[:, below, None], next(kernels)[None, None]) for below in seen)
        torch.testing.assert_close(out[:, number, None], expected)
    assert next(kernels, None) is None
    out.sum().backward()
    assert layer.weight.grad.shape == (60, 5, 5)
    assert (layer.weight.grad != 0).all()


def test_subsampling():
    """By hand, pixel by pixel, and its gradients: of the coefficient the sum, of each pixel the coefficient."""
    torch.manual_seed(0)
    layer = Subsampling(3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.3, -0.2, 0.1]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    assert out.shape == (2, 3, 2, 2)
    for b, m, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(2), torch.arange(2)).tolist():
        a = layer.weight[m] * x[b, m, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() + layer.bias[m]
        assert out[b, m, i, j].item() == pytest.approx(1.7159 * math.tanh(2 / 3 * a.item()), rel=1e-12)
    out[1, 2, 1, 0].backward()
    slope = 1.7159 * 2 / 3 * (1 - (out[1, 2, 1, 0].item() / 1.7159) ** 2)
    assert layer.bias.grad.tolist() == pytest.approx([0, 0, slope])
    assert layer.weight.grad.tolist() == pytest.approx([0, 0, slope * x[1, 2, 2:4, 0:2].sum().item()])
    expected = torch.zeros_like(x)
    expected[1, 2, 2:4, 0:2] = slope * layer.weight[2].item()
    torch.testing.assert_close(x.grad, expected)


def test_squashing_leaves_one_where_it_is():
    torch.testing.assert_close(ScaledTanh()(torch.tensor([-1.0, 0, 1])), torch.tensor([-1.0, 0, 1]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("outputs", [10, 7, 200])
def test_radial_basis(outputs):
    torch.manual_seed(0)
    layer, x = RadialBasis(outputs), torch.randn(5, 84)
    torch.testing.assert_close(layer(x), -torch.cdist(x, layer.codes).square(), rtol=1e-4, atol=1e-3)
    assert not list(layer.parameters())
    assert torch.equal(layer(layer.codes).argmax(1), torch.arange(outputs))  # each code is nearest to itself
    assert torch.equal(layer(layer.codes).diagonal(), torch.zeros(outputs))
    assert layer.codes.abs().eq(1).all()
    assert torch.equal(RadialBasis(outputs).codes, layer.codes)


def test_codes_are_pictures_of_digits():
    """No two alike, and those that look alike are near: 3 and 8 are nearer than 3 and 1."""
    drawn = make_codes(10)
    apart = (84 - drawn @ drawn.T) / 2
    assert apart[~torch.eye(10, dtype=torch.bool)].min() >= 12
    assert apart[3, 8] < apart[3, 1]
    assert (drawn[8].view(12, 7) == drawn[8].view(12, 7).flip(1)).all()  # an 8 is its own mirror image


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 33)])
def test_the_papers_forward_written_by_hand(shape):
    torch.manual_seed(0)
    model = LeNet5(shape, 4, "paper")
    c1, s2, c3, s4 = (layer for layer in model.features if parameters(layer))
    c5, f6 = (layer for layer in model.classifier if parameters(layer))
    kernels = torch.zeros(16, 6, 5, 5)
    for kernel, (above, below) in zip(c3.weight, [(a, b) for a, seen in enumerate(TABLE) for b in seen], strict=True):
        kernels[above, below] = kernel.detach()

    def f(a):
        return 1.7159 * torch.tanh(2 / 3 * a)

    def halved(layer, x):
        total = sum(x[..., i : x.shape[2] // 2 * 2 : 2, j : x.shape[3] // 2 * 2 : 2] for i in (0, 1) for j in (0, 1))
        return f(layer.weight.view(1, -1, 1, 1) * total + layer.bias.view(1, -1, 1, 1))

    x = torch.rand(3, *shape)
    h = halved(s2, f(F.conv2d(F.pad(x, (2, 2, 2, 2)) if shape[1] == 28 else x, c1.weight, c1.bias)))
    h = halved(s4, f(F.conv2d(h, kernels, c3.bias)))
    h = f(f(h.flatten(1) @ c5.weight.T + c5.bias) @ f6.weight.T + f6.bias)
    expected = -(h[:, None] - make_codes(4)).square().sum(2)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_the_papers_weights_at_the_start():
    """Uniform within 2.4 / fan-in: none beyond, some near it, and the spread of a uniform distribution."""
    torch.manual_seed(0)
    model = LeNet5((1, 32, 32), 10, "paper")
    for layer, fan_in in ((model.features.c1, 25), (model.classifier.c5, 400), (model.classifier.f6, 120)):
        weight = layer.weight.detach() * fan_in / 2.4
        assert 0.9 < weight.abs().max() <= 1
        assert weight.std().item() == pytest.approx(3**-0.5, rel=0.1)
    for kernels, seen in zip(model.features.c3.weight.split(model.features.c3.seen), TABLE, strict=True):
        assert 0.8 < kernels.abs().max().item() * len(seen) * 25 / 2.4 <= 1
    assert model.features.s4.weight.abs().max() <= 0.6


@pytest.mark.parametrize("variant", ["modern", "paper"])
def test_the_smallest_image(variant):
    assert LeNet5((1, 12, 12), 10, variant)(torch.zeros(2, 1, 12, 12)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 11), (4,), (28, 28)])
def test_what_does_not_fit_says_what_would(shape):
    with pytest.raises(UsageError, match=r"at least 12×12.*dataset=digits28"):
        LeNet5(shape, 10)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["modern", "paper"])
def test_learns_the_digits(train, variant):
    """200 images by heart: the gradient reaches every layer."""
    short = ("dataset.limit=200", "trainer.epochs=30", "trainer.batch=32")
    run = train("run", "model=lenet5", f"model.variant={variant}", *short)
    metrics = run.read()["metrics"]
    assert metrics["train/loss"] < 0.1
    assert metrics["test/accuracy"] > 0.8
