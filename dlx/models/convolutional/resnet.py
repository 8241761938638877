"""Residual networks for images as large as ImageNet's.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385,
table 1.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Positive

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def make_convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Make a convolution that keeps the size but for its stride, without a bias: batch normalization has one."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def init_weights(model: nn.Module) -> None:
    """Apply He's initialization, in its fan-out form, to every convolution (arXiv 1502.01852, §2.2)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BasicBlock(nn.Module):
    """y = ReLU(x + F(x)), F two 3×3 convolutions (figure 5, left).

    Args:
        inputs: channels of x.
        channels: of each convolution, and of y.
        stride: of the first convolution.
        shortcut: what x goes through on its way past F; the identity where None.
    """

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int = 1, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = make_convolution(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = make_convolution(channels, channels, 3), nn.BatchNorm2d(channels)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) of x (B, inputs, H, W)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(residual + (x if self.downsample is None else self.downsample(x)))
        return output


class Bottleneck(nn.Module):
    """y = ReLU(x + F(x)), F convolutions of 1×1, 3×3 and 1×1, the last with four times the channels (figure 5, right).

    Args:
        inputs: channels of x.
        channels: of the 3×3 convolution; y has four times as many.
        stride: of the 3×3 convolution; of the first one where `stride_first`, as in the paper.
        shortcut: what x goes through on its way past F; the identity where None.
        stride_first: see `stride`.
    """

    expansion = 4

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
        stride_first: bool = False,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1, self.bn1 = make_convolution(inputs, channels, 1, first), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = make_convolution(channels, channels, 3, second), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = make_convolution(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 channels, H / stride, W / stride) of x (B, inputs, H, W)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        output: Tensor = self.relu(residual + (x if self.downsample is None else self.downsample(x)))
        return output


class ResNet(nn.Module):
    """A 7×7 convolution, a pooling, four stages of residual blocks, the mean over the image, and a dense layer.

    Shortcuts are identities, or 1×1 convolutions where the size changes (the paper's option B). Parameters and names
    are torchvision's, so that its weights load (`pretrained=FILE`).

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        depth: 18 and 34 are built of basic blocks, 50, 101 and 152 of bottlenecks.
        variant: `torchvision` halves the image in a bottleneck's 3×3 convolution, the `paper` in its first 1×1 one
            (0.1 GMAC and half a point of ImageNet's accuracy less).
        width: multiplies the channels of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 8  # 32 times smaller in the last stage, where one place is left

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        depth: Literal[18, 34, 50, 101, 152] = 18,
        variant: Literal["torchvision", "paper"] = "torchvision",
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        inputs, _, _ = check_image_shape(shape, self.min_size, f"resnet{depth}")
        self.bottleneck, self.stride_first = depth >= 50, variant == "paper"
        self.channels = scale_channels(64, width)
        self.conv1 = nn.Conv2d(inputs, self.channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        one, two, three, four = DEPTHS[depth]
        self.layer1 = self._make_stage(one, scale_channels(64, width), 1)
        self.layer2 = self._make_stage(two, scale_channels(128, width), 2)
        self.layer3 = self._make_stage(three, scale_channels(256, width), 2)
        self.layer4 = self._make_stage(four, scale_channels(512, width), 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.channels, outputs)
        init_weights(self)

    def _make_stage(self, blocks: int, channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*(self._make_block(channels, stride if number == 0 else 1) for number in range(blocks)))

    def _make_block(self, channels: int, stride: int) -> nn.Module:
        inputs, self.channels = self.channels, channels * (4 if self.bottleneck else 1)
        shortcut = None
        if stride != 1 or inputs != self.channels:
            shortcut = nn.Sequential(make_convolution(inputs, self.channels, 1, stride), nn.BatchNorm2d(self.channels))
        if self.bottleneck:
            return Bottleneck(inputs, channels, stride, shortcut, self.stride_first)
        return BasicBlock(inputs, channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (B, 64, H/4, W/4)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (B, 512 or 2048, H/32, W/32)
        output: Tensor = self.fc(self.avgpool(x).flatten(1))
        return output


class PadShortcut(nn.Module):
    """Option A: every stride-th pixel of x, and zeros for the channels that x has not. It has no parameters."""

    def __init__(self, stride: int, more: int) -> None:
        super().__init__()
        self.stride, self.more = stride, more

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + more, H / stride, W / stride) of x (B, C, H, W)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
