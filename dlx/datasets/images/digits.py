"""scikit-learn's handwritten digits, which come with it and need no network."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from dlx.datasets import bundled
from dlx.datasets.images.images import Images
from dlx.datasets.splits import Split, Stream
from dlx.types import Count, Fraction


class Digits(Images):
    """The 1,797 handwritten digits of 8×8 pixels and 17 grey levels of the UCI repository (Alpaydin, Kaynak 1998).

    Args:
        size: pixels of each side; other than 8, images are interpolated bilinearly, for networks that need larger ones.
        shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment: as in `Images`.
    """

    def __init__(
        self,
        size: Count = 8,
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
        binarize: Literal["none", "threshold", "static", "stochastic"] = "none",
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment)
        self.size = size
        self.levels = 16.0 if size == 8 else 255.0  # interpolation needs finer steps than the sixteen

    def read(self) -> dict[str, Split | Stream]:
        rows = bundled.read_numbers("digits.csv.gz")
        if rows is None:
            from sklearn.datasets import load_digits

            data = load_digits()
            rows = np.column_stack([data.data, data.target])
        self.names = [str(digit) for digit in range(10)]
        x = torch.from_numpy(rows[:, :-1]).view(-1, 1, 8, 8)
        if self.size != 8:
            x = F.interpolate(x * (255 / 16), self.size, mode="bilinear", align_corners=False).round()
        return {"train": Split(x.to(torch.uint8), torch.from_numpy(rows[:, -1].astype(np.int64)))}
