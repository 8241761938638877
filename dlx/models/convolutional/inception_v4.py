"""Inception-v4, the last of its line without shortcuts.

C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", 2016, https://arxiv.org/abs/1602.07261, figures 3 to 9.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.models.convolutional.inception import BasicConv2d, Branches
from dlx.types import Count, Fraction, Positive

Scale = Callable[[int], int]  # the paper's number of channels, made thinner or wider
ROW, COLUMN = (1, 7), (7, 1)


class InceptionV4(nn.Module):
    """A stem, 4 modules A, a reduction, 7 modules B, a reduction, 3 modules C, the mean of each map and a dense layer.

    Names are timm's, so that its weights load (`pretrained=FILE`). The mean over maps of any size takes the place of
    the paper's 8×8 pooling. The paper does not give the initial weights; here they are torch's.

    Args:
        shape: of one image, (channels, height, width). The paper's are 299×299.
        outputs: number of scores.
        dropout: part of the mean maps that is dropped in training.
        width: multiplies the channels of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 75  # 37, 35, 17, 15, 7, 3 and at last one place

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        dropout: Fraction = 0.2,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        inputs, _, _ = check_image_shape(shape, self.min_size, "inception_v4")
        s = partial(scale_channels, width=width)
        a, b, c = 4 * s(96), s(384) + 2 * s(256) + s(128), 6 * s(256)  # what leaves a module A, B, C
        stem = 2 * s(96) + s(192)
        reduced_a, reduced_b = a + s(384) + s(256), b + s(192) + s(320)
        self.features = nn.Sequential(
            BasicConv2d(inputs, s(32), 3, stride=2, padding=0),  # (B, 32, 149, 149) from 299×299
            BasicConv2d(s(32), s(32), 3, padding=0),
            BasicConv2d(s(32), s(64), 3),
            Branches(maxpool=make_max_pool(), conv=make_conv_sequence(s(64), (s(96), 3), stride=2)),  # (B, 160, 73, 73)
            make_stem_4a(s(64) + s(96), s),  # (B, 192, 71, 71)
            Branches(
                conv=make_conv_sequence(2 * s(96), (s(192), 3), stride=2), maxpool=make_max_pool()
            ),  # (B, 384, 35, 35)
            *(make_module_a(a if number else stem, s) for number in range(4)),
            make_reduction_a(a, s),  # (B, 1024, 17, 17)
            *(make_module_b(b if number else reduced_a, s) for number in range(7)),
            make_reduction_b(b, s),  # (B, 1536, 8, 8)
            *(ModuleC(c if number else reduced_b, s) for number in range(3)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(c, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.last_linear(self.dropout(self.avgpool(self.features(x)).flatten(1)))
        return output


def make_conv_sequence(inputs: int, *steps: tuple[int, int | tuple[int, int]], stride: int | None = None) -> nn.Module:
    """Make convolutions one after another.

    Args:
        inputs: channels of what the first one sees.
        steps: channels and kernel of each; they keep the size of the maps.
        stride: of the last one, which is then without padding (the figures' V).
    """
    layers: list[nn.Module] = []
    for number, (channels, kernel) in enumerate(steps, start=1):
        if stride is not None and number == len(steps):
            layers.append(BasicConv2d(inputs, channels, kernel, stride, padding=0))
        else:
            layers.append(BasicConv2d(inputs, channels, kernel))
        inputs = channels
    return nn.Sequential(*layers) if len(layers) > 1 else layers[0]


def make_max_pool() -> nn.Module:
    """Make a max pooling without padding, to half the size."""
    return nn.MaxPool2d(3, stride=2)


def make_pool_branch(inputs: int, channels: int) -> nn.Module:
    """Make an average pooling that keeps the size, and a 1×1 convolution."""
    pooling = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Sequential(pooling, BasicConv2d(inputs, channels, 1))


def make_stem_4a(C: int, s: Scale) -> nn.Module:
    """Make the stem's fork with and without a 7×7 window (figure 3)."""
    return Branches(
        branch0=make_conv_sequence(C, (s(64), 1), (s(96), 3), stride=1),
        branch1=make_conv_sequence(C, (s(64), 1), (s(64), ROW), (s(64), COLUMN), (s(96), 3), stride=1),
    )


def make_module_a(C: int, s: Scale) -> nn.Module:
    """Make figure 4's module, for the 35×35 grid."""
    return Branches(
        branch0=make_conv_sequence(C, (s(96), 1)),
        branch1=make_conv_sequence(C, (s(64), 1), (s(96), 3)),
        branch2=make_conv_sequence(C, (s(64), 1), (s(96), 3), (s(96), 3)),
        branch3=make_pool_branch(C, s(96)),
    )


def make_reduction_a(C: int, s: Scale) -> nn.Module:
    """Make figure 7's module with k, l, m, n = 192, 224, 256, 384 of table 1: from 35×35 to 17×17."""
    return Branches(
        branch0=make_conv_sequence(C, (s(384), 3), stride=2),
        branch1=make_conv_sequence(C, (s(192), 1), (s(224), 3), (s(256), 3), stride=2),
        branch2=make_max_pool(),
    )


def make_module_b(C: int, s: Scale) -> nn.Module:
    """Make figure 5's module, for the 17×17 grid."""
    return Branches(
        branch0=make_conv_sequence(C, (s(384), 1)),
        branch1=make_conv_sequence(C, (s(192), 1), (s(224), ROW), (s(256), COLUMN)),
        branch2=make_conv_sequence(C, (s(192), 1), (s(192), COLUMN), (s(224), ROW), (s(224), COLUMN), (s(256), ROW)),
        branch3=make_pool_branch(C, s(128)),
    )


def make_reduction_b(C: int, s: Scale) -> nn.Module:
    """Make figure 8's module: from 17×17 to 8×8."""
    return Branches(
        branch0=make_conv_sequence(C, (s(192), 1), (s(192), 3), stride=2),
        branch1=make_conv_sequence(C, (s(256), 1), (s(256), ROW), (s(320), COLUMN), (s(320), 3), stride=2),
        branch2=make_max_pool(),
    )


class ModuleC(nn.Module):
    """Figure 6, for the 8×8 grid: two branches end in a 1×3 and a 3×1 convolution beside each other.

    Args:
        C: channels of the maps that it sees.
        s: scales the paper's numbers of channels.
    """

    def __init__(self, C: int, s: Scale) -> None:
        super().__init__()
        self.branch0 = BasicConv2d(C, s(256), 1)
        self.branch1_0 = BasicConv2d(C, s(384), 1)
        self.branch1_1a = BasicConv2d(s(384), s(256), (1, 3))
        self.branch1_1b = BasicConv2d(s(384), s(256), (3, 1))
        self.branch2_0 = BasicConv2d(C, s(384), 1)
        self.branch2_1 = BasicConv2d(s(384), s(448), (3, 1))
        self.branch2_2 = BasicConv2d(s(448), s(512), (1, 3))
        self.branch2_3a = BasicConv2d(s(512), s(256), (1, 3))
        self.branch2_3b = BasicConv2d(s(512), s(256), (3, 1))
        self.branch3 = make_pool_branch(C, s(256))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 1536, H, W) of x (B, C, H, W)."""
        one = self.branch1_0(x)
        two = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        forks = self.branch1_1a(one), self.branch1_1b(one), self.branch2_3a(two), self.branch2_3b(two)
        return torch.cat([self.branch0(x), *forks, self.branch3(x)], 1)
