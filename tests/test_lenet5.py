"""LeNet-5: sizes by arithmetic, numbers against a network written by hand."""

import pytest
import torch
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.lenet5 import LeNet5


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


def test_the_smallest_image():
    assert LeNet5((1, 12, 12), 10)(torch.zeros(2, 1, 12, 12)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 11), (4,), (28, 28)])
def test_what_does_not_fit_says_what_would(shape):
    with pytest.raises(UsageError, match=r"at least 12×12.*dataset=digits28"):
        LeNet5(shape, 10)


def test_learns_the_digits(train):
    """200 images by heart: the gradient reaches every layer."""
    run = train("run", "model=lenet5", "dataset.limit=200", "trainer.epochs=30", "trainer.batch=32")
    metrics = run.read()["metrics"]
    assert metrics["train/loss"] < 0.1
    assert metrics["test/accuracy"] > 0.8
