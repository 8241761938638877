"""Images: scaling, binarization and augmentation of whole batches."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset, to_wide
from dlx.datasets.images.binarization import binarize_split
from dlx.datasets.images.transforms import Augment
from dlx.datasets.splits import Split, Stream
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Images(Dataset):
    """Base of all image datasets: examples are (channels, height, width), uint8 or float.

    Args:
        scale: `unit` puts intensities into [0, 1], `symmetric` into [-1, 1] (what a generator with tanh gives),
            `standard` then subtracts each channel's mean and divides by its standard deviation, `none` leaves them.
        mean, std: for `standard`, one number a channel; null measures them on the training split.
        binarize: `threshold` at one half; or each pixel is 1 with its intensity as the probability: `static` draws once
            for all, by `seed` alone, `stochastic` anew in every epoch of training and always alike in evaluation.
            Likelihoods under one of them do not compare with those under another.
        augment: see `dlx.datasets.images.transforms.Augment`; the training split only.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "image"
    fitted: ClassVar[tuple[str, ...]] = ("levels", "mean", "std", "factor", "offset")
    levels: float = 255.0  # the intensity that stands for 1

    def __init__(
        self,
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
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        if binarize != "none" and scale != "unit":
            raise UsageError(f"dataset.binarize={binarize} needs intensities in [0, 1]; type dataset.scale=unit")
        if (mean is not None or std is not None) and scale != "standard":
            raise UsageError(f"dataset.mean and dataset.std do nothing with scale={scale}; type dataset.scale=standard")
        self.scale, self.binarize, self.augment = scale, binarize, Augment(augment)
        self.mean, self.std = mean and list(mean), std and list(std)
        self.factor, self.offset = torch.ones(()), torch.zeros(())  # of `standard`: (channels, 1, 1)

    def prepare(self, train: Split | Stream) -> None:
        if self.scale != "standard":
            return
        if self.mean is None or self.std is None:
            # A sample of a stream is enough: it is in random order already.
            x = train.x if isinstance(train, Split) else _read_first(train, 1000)
            mean, std = _compute_mean_std(x, self.levels)
            self.mean, self.std = self.mean or mean, self.std or std
        m, s = torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)
        if len(m) != len(s) or self.shape is None or len(m) not in (1, self.shape[0]) or bool((s <= 0).any()):
            raise UsageError(
                f"dataset.mean={self.mean} and dataset.std={self.std} were given; needed: one number for each channel "
                f"of {self.shape and list(self.shape)}, standard deviations above zero"
            )
        # (x / levels - mean) / std as one product and one sum.
        self.factor = (1 / (s * self.levels)).float()[:, None, None]
        self.offset = (-m / s).float()[:, None, None]

    def finish_splits(self) -> None:
        if self.binarize == "static":
            seeds = {"train": 0, "val": 1, "test": 2}
            for name, part in self.splits.items():
                self.splits[name] = binarize_split(part, self.levels, (self.seed, seeds.get(name, 3)))

    def random(self, train: bool) -> bool:
        return self.binarize == "stochastic" or (train and bool(self.augment))

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        if generator is None and (self.random(train) or self.binarize == "static"):
            generator = torch.Generator(x.device).manual_seed(self.seed)
        if train and self.augment:
            assert generator is not None
            x = self.augment(x, generator)
        x = x.to(torch.float32, copy=True)  # a copy even of floats: what follows works in place
        if self.scale == "none":
            return x
        if self.scale == "standard":
            if self.factor.device != x.device:
                self.factor, self.offset = self.factor.to(x.device), self.offset.to(x.device)
            return x.mul_(self.factor).add_(self.offset)
        x.div_(self.levels)
        if self.binarize == "threshold":
            return (x >= 0.5).float()
        # What `load` has made static is 0 or 1, and a draw leaves it so; other images, and warped ones, need one.
        if self.binarize == "static" and train and not self.augment:
            return x
        if self.binarize in ("static", "stochastic"):
            return torch.rand(x.shape, generator=generator, device=x.device).lt(x).float()
        return x.mul_(2).sub_(1) if self.scale == "symmetric" else x

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Return intensities (n, C, H, W) from 0 to `levels`; what binarization and augmentation did stays."""
        if self.scale == "none" or not x.is_floating_point() or x.ndim != 4:
            return x
        wide = to_wide(x)
        if self.scale == "standard":
            mean, std = (wide.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
            return (wide * std + mean) * self.levels
        return (wide + 1) * (self.levels / 2) if self.scale == "symmetric" else wide * self.levels


def _read_first(stream: Stream, examples: int) -> Tensor:
    return torch.stack([stream.data[row][0] for row in range(min(len(stream), examples))])


def _compute_mean_std(x: Tensor, levels: float) -> tuple[list[float], list[float]]:
    """Compute each channel's mean and standard deviation of x (n, C, H, W), in [0, 1]; in float64, in parts."""
    C = x.shape[1]
    total, squares = torch.zeros(C, dtype=torch.float64), torch.zeros(C, dtype=torch.float64)
    for part in x.split(4096):
        values = part.double() / levels
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    mean = total * C / x.numel()
    std = (squares * C / x.numel() - mean.square()).clamp(min=0).sqrt()
    std[std < 1e-6] = 1  # a constant channel stays at zero
    return mean.tolist(), std.tolist()
