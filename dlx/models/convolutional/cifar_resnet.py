"""Residual networks for images as small as CIFAR's: 20, 32, 44, 56 and 110 layers.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385,
§4.2.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.models.convolutional.resnet import BasicBlock, PadShortcut, init_weights, make_convolution
from dlx.types import Count, Positive


def count_blocks(depth: int, layers: int) -> int:
    """Return the blocks in each of three stages, of a network of `depth` layers made of blocks of `layers` layers.

    Raises:
        UsageError: the depth does not divide so.
    """
    blocks, rest = divmod(depth - 2, 3 * layers)
    if rest or blocks < 1:
        near = [3 * layers * max(1, blocks + more) + 2 for more in (0, 1)]
        raise UsageError(
            f"model.depth={depth} was given; needed: {3 * layers}n + 2; type model.depth={near[0]} or {near[1]}"
        )
    return blocks


class CifarResNet(nn.Module):
    """A 3×3 convolution, three stages of basic blocks with 16, 32 and 64 channels, a mean, and a dense layer.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        depth: 6n + 2 layers.
        shortcut: where the size changes: `pad` takes every second pixel and pads the channels with zeros (option A,
            the paper's on CIFAR), `project` a 1×1 convolution and batch normalization (option B).
        width: multiplies the channels of every layer.

    Raises:
        UsageError: not an image, too small a one, or a depth that does not divide into blocks.
    """

    accepts = ("image",)
    min_size = 8

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        depth: Count = 20,
        shortcut: Literal["pad", "project"] = "pad",
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        inputs, _, _ = check_image_shape(shape, self.min_size, f"resnet{depth}")
        blocks = count_blocks(depth, 2)
        self.channels, self.shortcut = scale_channels(16, width), shortcut
        self.conv1, self.bn1 = make_convolution(inputs, self.channels, 3), nn.BatchNorm2d(self.channels)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._make_stage(blocks, scale_channels(16, width), 1)
        self.layer2 = self._make_stage(blocks, scale_channels(32, width), 2)
        self.layer3 = self._make_stage(blocks, scale_channels(64, width), 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.channels, outputs)
        init_weights(self)

    def _make_stage(self, blocks: int, channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(*(self._make_block(channels, stride if number == 0 else 1) for number in range(blocks)))

    def _make_block(self, channels: int, stride: int) -> BasicBlock:
        inputs, self.channels = self.channels, channels
        shortcut: nn.Module | None = None
        if stride != 1 and self.shortcut == "pad":
            shortcut = PadShortcut(stride, channels - inputs)
        elif stride != 1:
            shortcut = nn.Sequential(make_convolution(inputs, channels, 1, stride), nn.BatchNorm2d(channels))
        return BasicBlock(inputs, channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 16, H, W)
        x = self.layer3(self.layer2(self.layer1(x)))  # (B, 64, H/4, W/4)
        output: Tensor = self.fc(self.avgpool(x).flatten(1))
        return output
