"""ZFNet: figure 3's sizes, counts by arithmetic and by whom they were published, the layers written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.alexnet import make_response_norm
from dlx.models.convolutional.zfnet import ZFNet
from tests.parity import PHOTO, imgclsmob, summary


def test_counts():
    """1.170 G is imgclsmob's figure, who add rectification and pooling; the multiply-adds alone are 1.168 G."""
    found = summary(lambda: ZFNet(PHOTO, 1000))
    convolutions = [(110, 7, 3, 96), (26, 5, 96, 256), (13, 3, 256, 384), (13, 3, 384, 384), (13, 3, 384, 256)]
    dense = [(256 * 6 * 6, 4096), (4096, 4096), (4096, 1000)]
    weights = sum((k * k * i + 1) * o for _, k, i, o in convolutions) + sum((i + 1) * o for i, o in dense)
    assert found.parameters == weights == 62357608
    macs = sum((side * k) ** 2 * i * o for side, k, i, o in convolutions) + sum(i * o for i, o in dense)
    assert found.macs == macs == 1168032896
    with torch.device("meta"):
        assert round(imgclsmob(ZFNet(PHOTO, 1000), torch.zeros(1, *PHOTO)) / 1e9, 3) == 1.170


def test_sizes_of_figure_3():
    layers = summary(lambda: ZFNet(PHOTO, 1000)).layers
    sizes = [(layer.type, layer.output) for layer in layers if layer.type in ("Conv2d", "MaxPool2d")]
    assert [output[1] for _, output in sizes] == [110, 55, 26, 13, 13, 13, 13, 6]
    assert [output[0] for _, output in sizes] == [96, 96, 256, 256, 384, 384, 256, 256]


def test_written_by_hand():
    torch.manual_seed(0)
    model = ZFNet((2, 64, 96), 5, width=0.1).eval()
    weights = [(p.weight, p.bias) for p in model.modules() if isinstance(p, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for weight, bias in weights:
            weight.mul_(10)
            nn.init.normal_(bias)
    x = torch.randn(2, 2, 64, 96)
    h = F.max_pool2d(F.relu(F.conv2d(x, *weights[0], stride=2, padding=1)), 3, 2, ceil_mode=True)
    h = F.conv2d(make_response_norm()(h), *weights[1], stride=2)
    h = make_response_norm()(F.max_pool2d(F.relu(h), 3, 2, ceil_mode=True))
    for number in (2, 3, 4):
        h = F.relu(F.conv2d(h, *weights[number], padding=1))
    h = F.adaptive_avg_pool2d(F.max_pool2d(h, 3, 2, ceil_mode=True), 6).flatten(1)
    for weight, bias in weights[5:7]:
        h = F.relu(F.linear(h, weight, bias))
    torch.testing.assert_close(model(x), F.linear(h, *weights[7]), rtol=1e-4, atol=1e-4)


def test_the_papers_weights_at_the_start():
    torch.manual_seed(0)
    model = ZFNet((1, 64, 64), 10, initialization="paper", width=0.5)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert all(layer.weight.std().item() == pytest.approx(0.01, rel=0.05) for layer in layers)
    assert not any(layer.bias.any() for layer in layers)


@pytest.mark.parametrize("shape", [(1, 47, 47), (3, 47, 131)])
def test_the_smallest_image(shape):
    assert ZFNet(shape, 10, width=0.05)(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 46, 47), (3, 47)])
def test_what_does_not_fit_says_what_would(shape):
    with pytest.raises(UsageError, match=r"model=zfnet .* at least 47×47.*dataset=digits64"):
        ZFNet(shape, 10)


@pytest.mark.slow
def test_learns_the_digits(train):
    options = (
        "optimizer=adam",
        "model.width=0.2",
        "model.dropout=0",
        "dataset.limit=500",
        "trainer.epochs=10",
        "trainer.batch=25",
    )
    metrics = train("run", "model=zfnet", *options).read()["metrics"]
    assert metrics["test/accuracy"] > 0.4  # chance is 0.1
