"""A small convolutional network made to learn CIFAR-10 in the least time.

K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, https://arxiv.org/abs/2404.00498, §3, after
D. Page, "How to Train Your ResNet", 2018.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Positive

BIAS_SCALE = 8.0  # a bias that counts eightfold learns 64 times as fast, as by the paper's learning rate for biases


class Norm(nn.Module):
    """Batch normalization with a bias that learns 64 times as fast as the weights, and no gain (§3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.norm = nn.BatchNorm2d(channels, momentum=0.4, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalized, (B, channels, H, W)."""
        output: Tensor = self.norm(x) + BIAS_SCALE * self.bias[:, None, None]
        return output


def make_block(inputs: int, channels: int) -> nn.Sequential:
    """Make two convolutions and a pooling: (B, channels, H/2, W/2) of (B, inputs, H, W)."""
    return nn.Sequential(
        make_convolution(inputs, channels),
        nn.MaxPool2d(2),
        Norm(channels),
        nn.GELU(),
        make_convolution(channels, channels),
        Norm(channels),
        nn.GELU(),
    )


def make_convolution(inputs: int, channels: int) -> nn.Conv2d:
    """Make a 3×3 convolution whose first filters are initialized as the identity (§3.3)."""
    layer = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(layer.weight[:inputs])
    return layer


class Airbench(nn.Module):
    """Whitening of 2×2 patches, three blocks of two convolutions each, the maximum over the image, a dense layer.

    The first layer's filters are no parameters: they are the eigenvectors of the training images' patches, each
    divided by its standard deviation, and their negatives (§3.2).

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        width: multiplies the 64, 256 and 256 channels of the blocks.
        views: what evaluation averages the scores of: the image as it is, it and its `mirror` image, or these and two
            copies moved by a pixel along each diagonal, at half of the weight, which is the paper's (§3.5).

    Raises:
        UsageError: not an image, or too small a one.
    """

    accepts = ("image",)
    min_size = 9

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        width: Positive = 1.0,
        views: Literal["one", "mirror", "mirror_translate"] = "one",
    ) -> None:
        super().__init__()
        channels, _, _ = check_image_shape(shape, self.min_size, "airbench")
        self.views = views
        self.whiten = nn.Conv2d(channels, 8 * channels, 2)
        self.whiten.weight.requires_grad = False
        one, two, three = (scale_channels(size, width) for size in (64, 256, 256))
        self.blocks = nn.Sequential(make_block(8 * channels, one), make_block(one, two), make_block(two, three))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.output = nn.Linear(three, outputs, bias=False)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Set the whitening filters by training images x (n, channels, height, width)."""
        C, k = x.shape[1], 2
        patches = x.unfold(2, k, 1).unfold(3, k, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, C * k * k).double()
        covariance = patches.T @ patches / len(patches)  # about zero, where the standardised images' mean lies
        values, vectors = torch.linalg.eigh(covariance.cpu())
        filters = (vectors / (values + 5e-4).sqrt()).T.flip(0).view(-1, C, k, k)  # the largest variance first
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        assert self.whiten.bias is not None
        nn.init.zeros_(self.whiten.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape); in evaluation mode those of its views, averaged."""
        if self.training or self.views == "one":
            return self._compute_scores(x)
        return torch.stack([weight * self._compute_scores(view) for weight, view in self._make_views(x)]).sum(0)

    def _compute_scores(self, x: Tensor) -> Tensor:
        x = F.gelu(self.whiten(x))  # (B, 24, H-1, W-1)
        x = self.pool(self.blocks(x)).flatten(1)
        result: Tensor = self.output(x) / 9
        return result

    def _make_views(self, x: Tensor) -> Iterator[tuple[float, Tensor]]:
        moved = [x]
        if self.views == "mirror_translate":
            H, W = x.shape[2:]
            padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
            moved += [padded[:, :, :H, :W], padded[:, :, 2:, 2:]]
        first = 1.0 if len(moved) == 1 else 0.5
        for view, weight in zip(moved, (first, 0.25, 0.25), strict=False):
            yield weight / 2, view
            yield weight / 2, view.flip(3)
