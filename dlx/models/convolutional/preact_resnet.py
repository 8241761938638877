"""Residual networks whose shortcuts are identities throughout: normalise and activate first, then convolve.

K. He, X. Zhang, S. Ren, J. Sun, "Identity Mappings in Deep Residual Networks", 2016, https://arxiv.org/abs/1603.05027.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from torch import Tensor, nn

from dlx.models.convolutional.cifar_resnet import count_blocks
from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.models.convolutional.resnet import DEPTHS, init_weights, make_convolution
from dlx.types import Count, Positive


class PreactBlock(nn.Module):
    """y = x + F(x), F convolutions that each come after a batch normalization and a ReLU (figure 4e).

    Args:
        inputs: channels of x.
        channels: of the 3×3 convolutions; a bottleneck's y has four times as many.
        stride: of the first convolution.
        bottleneck: F is 1×1, 3×3, 1×1 instead of 3×3, 3×3.
        activated: x comes normalised and activated already, as from the stem of the larger networks.
    """

    def __init__(
        self, inputs: int, channels: int, stride: int = 1, bottleneck: bool = False, activated: bool = False
    ) -> None:
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        outputs = (4 if bottleneck else 1) * channels
        sizes = [inputs, *[channels] * (len(kernels) - 1), outputs]
        first = nn.Identity() if activated else nn.BatchNorm2d(inputs)
        self.norms = nn.ModuleList([first, *(nn.BatchNorm2d(size) for size in sizes[1:-1])])
        self.relu = nn.ReLU(inplace=True)
        self.convolutions = nn.ModuleList(
            make_convolution(a, b, kernel, stride if place == 0 else 1)
            for place, (a, b, kernel) in enumerate(zip(sizes[:-1], sizes[1:], kernels, strict=True))
        )
        # Where the size changes, the shortcut branches off behind the first activation (§4.1).
        self.shortcut = make_convolution(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H / stride, W / stride) of x (B, inputs, H, W)."""
        a = self.relu(self.norms[0](x))
        past = x if self.shortcut is None else self.shortcut(a)
        a = self.convolutions[0](a)
        for norm, convolve in zip(list(self.norms)[1:], list(self.convolutions)[1:], strict=True):
            a = convolve(self.relu(norm(a)))
        output: Tensor = past + a
        return output


def make_stages(
    inputs: int, plan: Sequence[tuple[int, int, int]], bottleneck: bool, activated: bool
) -> Iterator[nn.Module]:
    """Yield stages of blocks: (blocks, channels, stride of the first) each. The first input may be activated."""
    for place, (blocks, channels, stride) in enumerate(plan):
        outputs = (4 if bottleneck else 1) * channels
        first = PreactBlock(inputs, channels, stride, bottleneck, activated and place == 0)
        yield nn.Sequential(first, *(PreactBlock(outputs, channels, 1, bottleneck) for _ in range(blocks - 1)))
        inputs = outputs


class PreactResNet(nn.Module):
    """As ResNet, for images as large as ImageNet's, in the order of the second paper.

    A bottleneck halves the image in its first 1×1 convolution, as in the authors' own program.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        depth: 18 and 34 are built of basic blocks, 50, 101 and 152 of bottlenecks.
        width: multiplies the channels of every layer.

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 8

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        depth: Literal[18, 34, 50, 101, 152] = 18,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        inputs, _, _ = check_image_shape(shape, self.min_size, f"preact_resnet{depth}")
        bottleneck, stem = depth >= 50, scale_channels(64, width)
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, stem, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels = [scale_channels(size, width) for size in (64, 128, 256, 512)]
        plan = list(zip(DEPTHS[depth], channels, (1, 2, 2, 2), strict=True))
        self.stages = nn.Sequential(*make_stages(stem, plan, bottleneck, activated=True))
        last = channels[-1] * (4 if bottleneck else 1)
        self.head = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(last, outputs)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        x = self.stem(x)  # (B, 64, H/4, W/4)
        x = self.stages(x)  # (B, 512 or 2048, H/32, W/32)
        output: Tensor = self.fc(self.head(x))
        return output


class CifarPreactResNet(nn.Module):
    """As CifarResNet, in the order of the second paper, with 1×1 convolutions where the size changes.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        depth: 6n + 2 layers of basic blocks, or 9n + 2 of bottlenecks.
        block: `basic`, or `bottleneck` as in the 164-layer network.
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
        block: Literal["basic", "bottleneck"] = "basic",
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        inputs, _, _ = check_image_shape(shape, self.min_size, f"preact_resnet{depth}")
        bottleneck = block == "bottleneck"
        blocks = count_blocks(depth, 3 if bottleneck else 2)
        channels = [scale_channels(size, width) for size in (16, 32, 64)]
        self.stem = make_convolution(inputs, channels[0], 3)
        plan = [(blocks, size, stride) for size, stride in zip(channels, (1, 2, 2), strict=True)]
        self.stages = nn.Sequential(*make_stages(channels[0], plan, bottleneck, activated=False))
        last = channels[-1] * (4 if bottleneck else 1)
        self.head = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(last, outputs)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        x = self.stages(self.stem(x))  # (B, 64 or 256, H/4, W/4)
        output: Tensor = self.fc(self.head(x))
        return output
