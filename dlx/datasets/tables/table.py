"""The base of all tables: rows of numbers, scaled column by column."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset, Split, Stream, to_wide
from dlx.types import Count, Fraction


class Table(Dataset):
    """Base of all tables: examples are vectors, (features,).

    Args:
        scale: `standard` gives each feature mean 0 and variance 1 on the training split, `minmax` puts it into [0, 1]
            there, `none` leaves it.
        scale_target: `standard` does the same to the targets of a regression, which a network needs in order to learn
            at its usual rates; `target_mean` and `target_std` lead back. Labels are never scaled.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "vector"
    fitted: ClassVar[tuple[str, ...]] = ("shift", "width")

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "standard", "minmax"] = "standard",
        scale_target: Literal["none", "standard"] = "none",
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.scale, self.scale_target = scale, scale_target
        self.shift, self.width = torch.zeros(()), torch.ones(())

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if self.is_fitted:
            pass
        elif self.scale == "standard":
            self.shift, self.width = compute_mean_std(train.x)
        elif self.scale == "minmax":
            low, high = train.x.amin(0), train.x.amax(0)
            self.shift, self.width = low, torch.where(high > low, high - low, 1)
        self.scale_targets(train)

    def scale_targets(self, train: Split) -> None:
        """Standardise the targets of all splits by those of the training split, if that is asked for."""
        if self.scale_target == "standard" and train.y is not None and train.y.is_floating_point():
            if not self.is_fitted:
                self.target_mean, self.target_std = compute_mean_std(train.y)
            mean, std = self.target_mean, self.target_std
            assert mean is not None
            assert std is not None
            for name, part in self.splits.items():
                if isinstance(part, Split) and part.y is not None:
                    self.splits[name] = Split(part.x, (part.y - mean) / std, part.lengths)

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        if self.scale == "none":
            return x
        return (x - self.shift.to(x.device)) / self.width.to(x.device)

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Return values (…, features) in the units of the file, by the mean and spread that were fitted."""
        if self.scale == "none" or not x.is_floating_point() or x.shape[-1] != (self.shape or (0,))[-1]:
            return x
        wide = to_wide(x)
        return wide * self.width.to(wide) + self.shift.to(wide)


def compute_mean_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and standard deviation of each column, as float32; 1 for a constant column."""
    wide = values.double()
    mean, std = wide.mean(0), wide.std(0, correction=0)
    # Rounding leaves a constant column a tiny spread, which must not be blown up.
    return mean.float(), torch.where(std > 1e-7 * mean.abs(), std, 1).float()
