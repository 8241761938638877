"""The base of all tables: rows of numbers, scaled column by column."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset, to_wide
from dlx.datasets.splits import Split, Stream
from dlx.types import Count, Fraction

MIN_SPREAD = 1e-4  # of a mean: below, float32 has fewer than about a thousand steps within a standard deviation
MIN_DEVIATION = 1e-13  # of a mean: below, a standard deviation in float64 is nothing but rounding


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
        self.shift, self.width = torch.zeros(()), torch.ones(())  # (features,) float64

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if self.is_fitted:
            pass
        elif self.scale == "standard":
            self.shift, self.width = compute_mean_std(train.x)
        elif self.scale == "minmax":
            low, high = train.x.amin(0).double(), train.x.amax(0).double()
            self.shift, self.width = low, torch.where(high > low, high - low, 1)
        elif train.x.dtype == torch.float64:
            self._note_precision(train.x, "the features", "dataset.scale=standard")
        self.scale_targets(train)

    def scale_targets(self, train: Split) -> None:
        """Standardise the targets of all splits by those of the training split, if that is asked for; in float32."""
        if train.y is None or not train.y.is_floating_point():
            return
        mean, std = torch.zeros(()), torch.ones(())
        if self.scale_target == "standard":
            if not self.is_fitted or self.target_mean is None or self.target_std is None:
                self.target_mean, self.target_std = compute_mean_std(train.y)
            mean, std = self.target_mean, self.target_std
        elif train.y.dtype == torch.float64:
            self._note_precision(train.y, "the targets", "dataset.scale_target=standard")
        for name, part in self.splits.items():
            if isinstance(part, Split) and part.y is not None:
                self.splits[name] = Split(part.x, ((part.y - mean) / std).float(), part.lengths)

    def _note_precision(self, values: Tensor, what: str, advice: str) -> None:
        """Say where float32, which a network computes in, cannot tell values apart that are not scaled."""
        mean, std = compute_mean_std(values)
        coarse = (std < MIN_SPREAD * mean.abs()) & (values.amax(0) > values.amin(0))
        if coarse.any():
            self.note(
                f"{self.source}: {int(coarse.sum())} of the columns of {what} vary by less than {MIN_SPREAD:g} of "
                f"their mean, which float32 keeps to a few digits only; {advice} scales them in float64 first"
            )

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        if self.scale == "none":
            return x.float()
        wide = x if x.device.type == "mps" else x.double()  # where the device has it
        return ((wide - self.shift.to(wide)) / self.width.to(wide)).float()

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Return values (…, features) in the units of the file, by the mean and spread that were fitted."""
        if self.scale == "none" or not x.is_floating_point() or x.shape[-1] != (self.shape or (0,))[-1]:
            return x
        wide = to_wide(x)
        return wide * self.width.to(wide) + self.shift.to(wide)


def compute_mean_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and standard deviation of each column, as float64; 1 for a constant column."""
    std, mean = torch.std_mean(values.double(), 0, correction=0)
    # Rounding leaves a constant column a tiny spread, which must not be blown up.
    return mean, torch.where(std > MIN_DEVIATION * mean.abs(), std, 1)
