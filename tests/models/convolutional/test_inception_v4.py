"""Inception-v4: counts by who published them, names and shapes of timm's weights, modules written out."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from dlx.errors import UsageError
from dlx.models.convolutional.inception_v4 import InceptionV4, ModuleC, make_module_a
from tests.parity import imgclsmob, shapes, summary

PHOTO = (3, 299, 299)


def test_counts():
    """12.305 G is imgclsmob's figure at 299×299, who add rectification, normalization and pooling to the 12.254 G."""
    found = summary(lambda: InceptionV4(PHOTO, 1000), PHOTO)
    assert found.parameters == 42679816
    assert round(found.macs / 1e9, 3) == 12.254
    with torch.device("meta"):
        assert round(imgclsmob(InceptionV4(PHOTO, 1000), torch.zeros(1, *PHOTO)) / 1e9, 3) == 12.305
    assert round(summary(lambda: InceptionV4((3, 224, 224), 1000)).macs / 1e9, 3) == 6.122


def test_names_and_shapes_are_timms():
    """timm 1.0.31's, with whose weights the logits were the same to 1e-5 when this was written."""
    lines = sorted(f"{name} {tuple(shape)}" for name, shape in shapes(lambda: InceptionV4(PHOTO, 1000)).items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == TIMMS


TIMMS = "3802c76b5597c75df19738b3b0e184084000bb18457ffde2bf733e20e47397ba"


def test_sizes_of_figure_9():
    with torch.device("meta"):
        x, sizes = torch.zeros(1, *PHOTO), []
        for layer in InceptionV4(PHOTO, 1000).features:
            x = layer(x)
            sizes.append(tuple(x.shape[1:]))
    stem = [(32, 149, 149), (32, 147, 147), (64, 147, 147), (160, 73, 73), (192, 71, 71), (384, 35, 35)]
    assert sizes == [*stem, *[(384, 35, 35)] * 4, *[(1024, 17, 17)] * 8, *[(1536, 8, 8)] * 4]


def by_hand(layer, x):
    """A convolution that keeps the size, normalized and rectified, from the layer's tensors."""
    weight, norm = layer.conv.weight, layer.bn
    x = F.conv2d(x, weight, padding=(weight.shape[2] // 2, weight.shape[3] // 2))
    each = (slice(None), None, None)
    scale = norm.weight[each] / (norm.running_var[each] + 0.001).sqrt()
    return F.relu((x - norm.running_mean[each]) * scale + norm.bias[each])


def moved(module):
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bn.weight", "bn.bias")):
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return module.double().eval()


def test_module_c_written_by_hand():
    """The forks are parallel, and stacked in the order of timm's weights."""
    m, x = moved(ModuleC(6, lambda maps: maps // 64)), torch.randn(2, 6, 5, 4, dtype=torch.float64)
    one = by_hand(m.branch1_0, x)
    two = by_hand(m.branch2_2, by_hand(m.branch2_1, by_hand(m.branch2_0, x)))
    forks = [by_hand(m.branch1_1a, one), by_hand(m.branch1_1b, one)]
    forks += [by_hand(m.branch2_3a, two), by_hand(m.branch2_3b, two)]
    pooled = F.avg_pool2d(x, 3, 1, 1) * 9 / F.conv2d(torch.ones(1, 1, 5, 4), torch.ones(1, 1, 3, 3), padding=1)
    expected = torch.cat([by_hand(m.branch0, x), *forks, by_hand(m.branch3[1], pooled)], 1)
    torch.testing.assert_close(m(x), expected)


def test_module_a_written_by_hand():
    m, x = moved(make_module_a(6, lambda maps: maps // 32)), torch.randn(2, 6, 5, 4, dtype=torch.float64)
    pooled = F.avg_pool2d(x, 3, 1, 1) * 9 / F.conv2d(torch.ones(1, 1, 5, 4), torch.ones(1, 1, 3, 3), padding=1)
    two = by_hand(m.branch1[1], by_hand(m.branch1[0], x))
    three = by_hand(m.branch2[2], by_hand(m.branch2[1], by_hand(m.branch2[0], x)))
    expected = torch.cat([by_hand(m.branch0, x), two, three, by_hand(m.branch3[1], pooled)], 1)
    torch.testing.assert_close(m(x), expected)


@pytest.mark.parametrize("shape", [(1, 75, 75), (4, 80, 131)])
def test_any_image_and_any_width(shape):
    assert InceptionV4(shape, 7, width=0.05).eval()(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(3, 75, 74), (75,)])
def test_what_does_not_fit_says_what_would(shape):
    with pytest.raises(UsageError, match=r"model=inception_v4 .* at least 75×75.*dataset=digits96"):
        InceptionV4(shape, 10)
