"""Generated points: as many as one likes, of distributions that are known exactly."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Split, Stream
from dlx.types import Count, Fraction, NonNegative, Positive


class Points(Dataset):
    """Base of generated points: vectors of a distribution that is known.

    Args:
        examples: how many, over all splits.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "vector"
    fitted = ("centres", "std")

    def __init__(
        self,
        examples: Count = 1000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.examples = examples
        self.centres: Tensor | None = None  # (modes, features) of a mixture, for tasks that count the modes found
        self.std: float | None = None  # of each mode

    def make_mixture(self, centres: Tensor, std: float) -> dict[str, Split | Stream]:
        """Draw equally many points of N(centre, std² I) about each of `centres` (modes, features), labelled by mode."""
        self.centres, self.std = centres, std
        generator = torch.Generator().manual_seed(self.seed)
        y = torch.arange(self.examples) % len(centres)
        noise = torch.randn(self.examples, centres.shape[1], generator=generator)
        return {"train": Split(centres[y] + std * noise, y)}


class Moons(Points):
    """Two interleaved half circles of radius 1, as scikit-learn's `make_moons` draws them.

    Args:
        noise: standard deviation of the distance from the half circle.
        examples: how many, over all splits.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    def __init__(
        self,
        noise: NonNegative = 0.1,
        examples: Count = 1000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(examples, shape, classes, outputs, seed, val, test, limit)
        self.noise = noise

    def read(self) -> dict[str, Split | Stream]:
        upper = self.examples // 2
        a, b = torch.linspace(0, math.pi, upper), torch.linspace(0, math.pi, self.examples - upper)
        x = torch.cat([torch.stack([a.cos(), a.sin()], 1), torch.stack([1 - b.cos(), 0.5 - b.sin()], 1)])
        generator = torch.Generator().manual_seed(self.seed)
        y = (torch.arange(self.examples) >= upper).long()
        return {"train": Split(x + self.noise * torch.randn(x.shape, generator=generator), y)}


class Blobs(Points):
    """Gaussian blobs about centres drawn uniformly from [-10, 10] in each direction; classes, or clusters to find.

    Args:
        modes: number of blobs.
        features: dimensions.
        std: of each blob, in each direction.
        examples: how many, over all splits.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    def __init__(
        self,
        modes: Count = 3,
        features: Count = 2,
        std: Positive = 1.0,
        examples: Count = 1000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(examples, shape, classes, outputs, seed, val, test, limit)
        self.modes, self.features, self.mode_std = modes, features, std

    def read(self) -> dict[str, Split | Stream]:
        # The noise has a generator of its own, so that more examples do not move the centres.
        generator = torch.Generator().manual_seed(self.seed + 1)
        centres = 20 * torch.rand(self.modes, self.features, generator=generator) - 10
        return self.make_mixture(centres, self.mode_std)


class Ring(Points):
    """Gaussians around a circle: what a GAN that collapses fails to cover.

    L. Metz et al., "Unrolled generative adversarial networks", 2017, https://arxiv.org/abs/1611.02163.

    Args:
        modes: number of Gaussians.
        radius: of the circle.
        std: of each Gaussian.
        examples: how many, over all splits.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    def __init__(
        self,
        modes: Count = 8,
        radius: Positive = 2.0,
        std: Positive = 0.02,
        examples: Count = 10000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(examples, shape, classes, outputs, seed, val, test, limit)
        self.modes, self.radius, self.mode_std = modes, radius, std

    def read(self) -> dict[str, Split | Stream]:
        angle = torch.arange(self.modes) * (2 * math.pi / self.modes)
        return self.make_mixture(self.radius * torch.stack([angle.cos(), angle.sin()], 1), self.mode_std)


class Grid(Points):
    """Gaussians on a square grid about the origin: the harder sister of the ring.

    Z. Lin et al., "PacGAN", 2018, https://arxiv.org/abs/1712.04086: 5×5 at distance 2, standard deviation 0.05.

    Args:
        side: Gaussians on each side.
        spacing: distance of neighbours.
        std: of each Gaussian.
        examples: how many, over all splits.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    def __init__(
        self,
        side: Count = 5,
        spacing: Positive = 2.0,
        std: Positive = 0.05,
        examples: Count = 10000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        super().__init__(examples, shape, classes, outputs, seed, val, test, limit)
        self.side, self.spacing, self.mode_std = side, spacing, std

    def read(self) -> dict[str, Split | Stream]:
        along = self.spacing * (torch.arange(self.side) - (self.side - 1) / 2)
        return self.make_mixture(torch.cartesian_prod(along, along), self.mode_std)
