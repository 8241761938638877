"""Images read pixel by pixel, or row by row: a test of memory.

Q. Le, N. Jaitly, G. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015,
https://arxiv.org/abs/1504.00941.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dlx.datasets.images.digits import Digits
from dlx.datasets.images.images import Images
from dlx.datasets.images.mnist import Mnist
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction, Natural


class Pixels(Images):
    """Base of datasets whose images are read in order, from left to right and from top to bottom.

    A class of images beside it says where they come from. Examples are (T, features) with T · features pixels.
    """

    kind = "sequence"
    fitted = ("pixels", "order")
    permutation: int | None
    pixels: tuple[int, ...]  # (channels, height, width), in which images may be given for prediction
    order: Tensor  # (pixels,), in which they are read

    def read(self) -> dict[str, Split | Stream]:
        parts = super().read()
        images = parts["train"]
        assert isinstance(images, Split)
        self.pixels = tuple(images.x.shape[1:])
        size = math.prod(self.pixels)
        shape = (size, 1) if self.shape is None else self.shape
        if len(shape) != 2 or math.prod(shape) != size:
            raise UsageError(
                f"dataset.shape={list(shape)} was given; needed: [steps, features] of {size} pixels together, such as "
                f"[{size}, 1] or, for rows, {list(self.pixels[1:])}"
            )
        self.order = torch.arange(size)
        if self.permutation is not None:
            self.order = torch.randperm(size, generator=torch.Generator().manual_seed(self.permutation))
        return {name: Split(part.x.view(-1, *shape), part.y) for name, part in parts.items() if isinstance(part, Split)}

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        super().prepare(Split(train.x.view(len(train), 1, 1, -1)))

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        x = super().transform(x, train, generator)
        if self.permutation is None:
            return x
        if self.order.device != x.device:
            self.order = self.order.to(x.device)
        return x.flatten(1)[:, self.order].view_as(x)

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Return intensities (n, T, features), the pixels in the order of the image."""
        if not x.is_floating_point() or x.ndim != 3 or x.shape[1:].numel() != len(self.order):
            return x
        values = super().inverse_transform(x.flatten(1)[:, None, None])
        return values.flatten(1)[:, self.order.argsort().to(x.device)].view(x.shape)


class SequenceMnist(Pixels, Mnist):
    """The digits of MNIST as sequences.

    Args:
        permutation: seed of a fixed order, the same for all images, in which the pixels are read; null for their own.
        shape: [784, 1] for a pixel at each step, [28, 28] for a row.
        classes, outputs, seed, val, limit, root, download, scale, mean, std: as in `Downloaded`.
    """

    def __init__(
        self,
        permutation: Natural | None = None,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        limit: Count | None = None,
        root: str | None = None,
        download: bool = True,
        scale: Literal["none", "unit", "symmetric", "standard"] = "unit",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, limit, root, download, scale, mean, std)
        self.permutation = permutation


class SequenceDigits(Pixels, Digits):
    """scikit-learn's digits of 8×8 pixels as sequences.

    Args:
        permutation: seed of a fixed order, the same for all images, in which the pixels are read; null for their own.
        shape: [64, 1] for a pixel at each step, [8, 8] for a row.
        classes, outputs, seed, val, test, limit, scale, mean, std: as in `Images`.
    """

    def __init__(
        self,
        permutation: Natural | None = None,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "unit", "symmetric", "standard"] = "unit",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(8, shape, classes, outputs, seed, val, test, limit, scale, mean, std)
        self.permutation = permutation
