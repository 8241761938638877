"""Residual networks: torchvision's weights and logits, the papers' counts, shortcuts by their definitions."""

import pytest
import torch
import torchvision
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.cifar_resnet import CifarResNet
from dlx.models.convolutional.preact_resnet import CifarPreactResNet, PreactBlock, PreactResNet
from dlx.models.convolutional.resnet import DEPTHS, PadShortcut, ResNet
from dlx.trained.summary import trace

PHOTO = (3, 224, 224)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def moved(model):
    """Running means that are not zero, so that a wrong order of layers shows."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_both_ways(depth):
    theirs = moved(getattr(torchvision.models, f"resnet{depth}")(weights=None))
    ours = ResNet(PHOTO, 1000, depth).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 96, 64)
    expected = theirs(x)
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
    theirs.load_state_dict(moved(ResNet(PHOTO, 1000, depth)).state_dict())


@pytest.mark.parametrize("depth", DEPTHS)
def test_names_and_shapes_are_torchvisions(depth):
    with torch.device("meta"):
        ours, theirs = ResNet(PHOTO, 1000, depth), getattr(torchvision.models, f"resnet{depth}")(weights=None)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("depth", "count", "macs"),
    [
        (18, 11689512, 1.814),
        (34, 21797672, 3.664),
        (50, 25557032, 4.089),
        (101, 44549160, 7.801),
        (152, 60192808, 11.514),
    ],
)
def test_counts(depth, count, macs):
    with torch.device("meta"):
        found = trace(ResNet(PHOTO, 1000, depth).eval(), torch.zeros(1, *PHOTO))
    assert found.parameters == count
    assert round(found.macs / 1e9, 3) == macs


def test_the_papers_bottleneck_halves_first():
    """A stride in the first 1×1 convolution changes no weight's shape and saves in stages 2, 3 and 4.

    By hand: the first block's 1×1 and 3×3 convolutions see a quarter of the places in one variant or the other.
    """
    with torch.device("meta"):
        paper, newer = (ResNet(PHOTO, 1000, 50, variant).eval() for variant in ("paper", "torchvision"))
        spared = trace(newer, torch.zeros(1, *PHOTO)).macs - trace(paper, torch.zeros(1, *PHOTO)).macs
    assert parameters(paper) == parameters(newer)
    # 1×1 from `inputs` to `channels` at `side`² instead of (side/2)²; the 3×3 one works at (side/2)² in both.
    stages = [(256, 128, 56), (512, 256, 28), (1024, 512, 14)]
    assert spared == sum(inputs * channels * (side**2 - (side // 2) ** 2) for inputs, channels, side in stages)


@pytest.mark.parametrize(("depth", "count"), [(20, 269722), (32, 464154), (44, 658586), (56, 853018), (110, 1727962)])
def test_cifar_counts(depth, count):
    assert parameters(CifarResNet((3, 32, 32), 10, depth)) == count


def test_option_a_has_no_parameters_and_option_b_has():
    pad, project = (CifarResNet((3, 32, 32), 10, 20, shortcut) for shortcut in ("pad", "project"))
    assert parameters(project) - parameters(pad) == (16 * 32 + 64) + (32 * 64 + 128)
    x = torch.randn(2, 16, 9, 8)
    out = PadShortcut(2, 16)(x)
    assert out.shape == (2, 32, 5, 4)
    assert torch.equal(out[:, :16], x[:, :, ::2, ::2])
    assert not out[:, 16:].any()


@pytest.mark.parametrize(
    ("model", "count"),
    [
        # timm's count for ResNet-v2-50. imgclsmob's has a second normalization before the first unit: 128 more.
        (lambda: PreactResNet(PHOTO, 1000, 50), 25549352),
        # Of ResNet-20's: the same normalizations, and two 1×1 convolutions more.
        (lambda: CifarPreactResNet((3, 32, 32), 10, 20), 269722 + 16 * 32 + 32 * 64),
        (lambda: CifarPreactResNet((3, 32, 32), 10, 164, "bottleneck"), 1703258),
    ],
)
def test_preact_counts(model, count):
    with torch.device("meta"):
        assert parameters(model()) == count


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_preact_block_adds_to_what_passes(bottleneck):
    """With convolutions of zero what comes in goes out, to the bit: the paper's identity mapping."""
    inputs = 8 * (4 if bottleneck else 1)
    block = PreactBlock(inputs, 8, 1, bottleneck)
    x = torch.randn(4, inputs, 6, 6)
    assert not torch.equal(block(x), x)
    nn.init.zeros_(block.convolutions[-1].weight)
    assert torch.equal(block(x), x)


def test_a_preact_block_where_the_size_changes():
    """The shortcut sees the activated input (§4.1)."""
    block = PreactBlock(4, 6, 2).eval()
    x = torch.randn(3, 4, 8, 8)
    a = block.norms[0](x).relu()
    one, two = block.convolutions
    torch.testing.assert_close(block(x), block.shortcut(a) + two(block.norms[1](one(a)).relu()))
    assert block(x).shape == (3, 6, 4, 4)


@pytest.mark.parametrize(("model", "depth"), [(CifarResNet, 21), (CifarPreactResNet, 2)])
def test_a_depth_that_does_not_divide_says_which_would(model, depth):
    with pytest.raises(UsageError, match=r"model\.depth=.*6n \+ 2; type model\.depth="):
        model((3, 32, 32), 10, depth)


@pytest.mark.parametrize("model", [ResNet, CifarResNet, PreactResNet, CifarPreactResNet])
def test_what_does_not_fit(model):
    assert model((1, 8, 8), 7).eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    with pytest.raises(UsageError, match=r"at least 8×8"):
        model((1, 7, 9), 10)


@pytest.mark.slow
def test_learns_the_digits(train):
    """Four seeds gave 98.6 to 99.7 %."""
    short = ("model.width=0.5", "trainer.epochs=6", "trainer.batch=32", "scheduler=one_cycle", "scheduler.max_lr=1e-2")
    assert train("run", "model=resnet20", *short).read()["metrics"]["test/accuracy"] > 0.95
