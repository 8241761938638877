"""AlexNet: torchvision's weights and logits, the paper's count, groups and normalization written out."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.alexnet import AlexNet, make_response_norm
from tests.parity import PHOTO, assert_same_logits, shapes, summary


def theirs():
    return torchvision.models.alexnet(weights=None)


def test_logits_are_torchvisions():
    torch.manual_seed(0)
    assert_same_logits(lambda: AlexNet(PHOTO, 1000), theirs, torch.randn(1, *PHOTO))


def test_names_and_shapes_are_torchvisions():
    assert shapes(lambda: AlexNet(PHOTO, 1000)) == shapes(theirs)


@pytest.mark.parametrize(("variant", "count", "macs"), [("torchvision", 61100840, 0.714), ("paper", 60965224, 0.724)])
def test_counts(variant, count, macs):
    found = summary(lambda: AlexNet(PHOTO, 1000, variant))
    assert found.parameters == count
    assert round(found.macs / 1e9, 3) == macs
    assert found.output == [1000]


def test_the_papers_sizes():
    """Figure 2: 55, 27, 13, 13, 13 and 48 + 48, 128 + 128, 192 + 192, 192 + 192, 128 + 128 maps; 150,528 inputs."""
    layers = [layer for layer in summary(lambda: AlexNet(PHOTO, 1000, "paper")).layers if layer.type == "Conv2d"]
    assert [layer.output for layer in layers] == [[96, 55, 55], [256, 27, 27], *[[384, 13, 13]] * 2, [256, 13, 13]]
    kernels = [11 * 11 * 3 * 96, 5 * 5 * 48 * 256, 3 * 3 * 256 * 384, 3 * 3 * 192 * 384, 3 * 3 * 192 * 256]
    biases = [96, 256, 384, 384, 256]
    assert [layer.parameters for layer in layers] == [k + b for k, b in zip(kernels, biases, strict=True)]


def test_response_normalization_map_by_map():
    """§3.3, with k = 2, n = 5, α = 10⁻⁴ and β = 0.75; activations large enough for α to matter."""
    torch.manual_seed(0)
    a = 100 * torch.rand(1, 7, 2, 3, dtype=torch.float64)
    found = make_response_norm()(a)
    for i in range(7):
        squares = sum(a[:, j] ** 2 for j in range(max(0, i - 2), min(6, i + 2) + 1))
        torch.testing.assert_close(found[:, i], a[:, i] / (2 + 1e-4 * squares) ** 0.75)


def columns(x, weight, bias):
    """A convolution on each of the two GPUs: half of the maps, seen by half of the filters."""
    halves = zip(x.chunk(2, 1), weight.chunk(2), bias.chunk(2), strict=True)
    return torch.cat([F.conv2d(*half, padding=weight.shape[2] // 2) for half in halves], 1)


def test_the_paper_written_by_hand():
    """Two columns that meet in the third convolution and in the dense layers."""
    torch.manual_seed(0)
    model = AlexNet((3, 96, 80), 5, "paper", width=0.25).eval()
    weights = [(p.weight, p.bias) for p in model.modules() if isinstance(p, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for weight, bias in weights:
            weight.mul_(10)
            nn.init.normal_(bias)
    x = torch.randn(2, 3, 96, 80)
    h = F.relu(F.conv2d(x, *weights[0], stride=4, padding=2))
    h = F.max_pool2d(make_response_norm()(h), 3, 2)
    h = F.relu(columns(h, *weights[1]))
    h = F.max_pool2d(make_response_norm()(h), 3, 2)
    h = F.relu(F.conv2d(h, *weights[2], padding=1))
    h = F.relu(columns(h, *weights[3]))
    h = F.max_pool2d(F.relu(columns(h, *weights[4])), 3, 2)
    h = F.adaptive_avg_pool2d(h, 6).flatten(1)
    for weight, bias in weights[5:7]:
        h = F.relu(F.linear(h, weight, bias))
    torch.testing.assert_close(model(x), F.linear(h, *weights[7]), rtol=1e-4, atol=1e-4)


def test_the_papers_weights_at_the_start():
    torch.manual_seed(0)
    model = AlexNet((1, 64, 64), 10, "paper", initialization="paper", width=0.5)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [layer.bias.unique().tolist() for layer in layers] == [[0], [1], [0], [1], [1], [1], [1], [0]]
    assert all(layer.weight.std().item() == pytest.approx(0.01, rel=0.05) for layer in layers)


def test_dropout_stands_where_each_has_it():
    torchvisions, papers = (
        [type(layer).__name__ for layer in AlexNet((1, 63, 63), 2, variant, width=0.02).classifier]
        for variant in ("torchvision", "paper")
    )
    assert torchvisions == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    assert papers == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]


@pytest.mark.parametrize("variant", ["torchvision", "paper"])
@pytest.mark.parametrize("shape", [(1, 63, 63), (4, 70, 200)])
def test_any_image_and_any_width(variant, shape):
    assert AlexNet(shape, 7, variant, width=0.02)(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(3, 62, 63), (63,)])
def test_what_does_not_fit_says_what_would(shape):
    with pytest.raises(UsageError, match=r"model=alexnet .* at least 63×63.*dataset=digits64"):
        AlexNet(shape, 10)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["torchvision", "paper"])
def test_learns_the_digits(train, variant):
    options = (
        "optimizer=adam",
        "model.width=0.2",
        "model.dropout=0",
        "dataset.limit=500",
        "trainer.epochs=10",
        "trainer.batch=25",
    )
    metrics = train("run", "model=alexnet", f"model.variant={variant}", *options).read()["metrics"]
    assert metrics["test/accuracy"] > 0.4  # chance is 0.1
