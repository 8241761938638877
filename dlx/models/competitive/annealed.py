"""Learning by a neighbourhood that shrinks: what neural gas and self-organising maps have in common.

Every example draws all prototypes towards itself, the more the nearer a unit is to the one that won:

    w_i ← w_i + ε h_i (x - w_i)

with h_i = 1 for the winner. The rate ε and the range of h fall exponentially over the whole training, from a start s to
an end e: s (e/s)^(t/T) for the t-th of T examples.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.competitive.prototypes import Prototypes
from dlx.types import Count, Positive


class ExponentialDecay(NamedTuple):
    """From `start` to `end`, exponentially."""

    start: float
    end: float

    def at(self, part: Tensor) -> Tensor:
        """Return the values (n,) when such parts (n,) of the training, in [0, 1], are over."""
        return self.start * (self.end / self.start) ** part


class Annealed(Prototypes):
    """Base: three ways of taking the same step, and the schedules.

    `online` is the definition, one example after the other. `minibatch` lets the examples of a batch compete at once,
    with the prototypes that were there before it; a unit then goes as far towards their weighted mean as it would have
    gone towards them one by one: 1 - Π_j (1 - ε h_ij). With batches of one it is `online`. `batch` sets each prototype
    to the weighted mean over a whole pass, Σ_j h_ij x_j / Σ_j h_ij, and has no rate (M. Cottrell et al., "Batch and
    median neural gas", Neural Networks 19, 2006; T. Kohonen, "Self-Organizing Maps", 1995, for the map).

    Args:
        shape, units, seed: as in `Prototypes`.
        rate: ε.
        range: of the neighbourhood.

    Raises:
        UsageError: a schedule would rise, or the rate is more than 1.
    """

    declares: ClassVar[tuple[str | Metric, ...]] = ("rate", "range")

    def __init__(
        self,
        shape: Sequence[int],
        units: Count,
        rate: tuple[Positive, Positive],
        range: ExponentialDecay,
        seed: int = 0,
    ) -> None:
        super().__init__(shape, units, seed)
        self.rate, self.range = ExponentialDecay(*rate), range
        if self.rate.start > 1:
            raise UsageError(f"model.rate_start={self.rate.start:g} was given; needed: at most 1, which is all the way")
        for name, (start, end) in (("rate", self.rate), ("range", self.range)):
            if end > start:
                raise UsageError(
                    f"model.{name}_start={start:g} and model.{name}_end={end:g} were given; needed: an end that is not "
                    f"larger; type model.{name}_end={start / 100:g}"
                )

    @abstractmethod
    def step_strengths(self, rate: Tensor, range: Tensor) -> Tensor:
        """Return what the steps need of rates and ranges (batch,): a row for each example, (batch, …)."""

    @abstractmethod
    def pull(self, distances: Tensor, strength: Tensor) -> Tensor:
        """Return ε h, (units,), for one example at `distances` (units,) from the prototypes; `strength` is its row."""

    @abstractmethod
    def neighbourhood(self, distances: Tensor, range: Tensor) -> Tensor:
        """Return h, (batch, units), for examples at `distances` (batch, units); `range` (batch, 1)."""

    def compete(self, distances: Tensor, part: Tensor) -> None:
        """Hear how far examples were from the prototypes, (batch, units), at such parts (batch,) of the training."""

    @torch.no_grad()
    def online(self, x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Learn from x (batch, *shape), one after the other, when `seen` of `total` examples were learned from."""
        w, rows = self.prototypes, x.flatten(1).to(self.prototypes)
        part = training_progress(len(rows), seen, total)
        strengths = self.step_strengths(self.rate.at(part), self.range.at(part)).to(w)
        difference, distances = torch.empty_like(w), w.new_empty(len(rows), len(w))
        for row, strength, distance in zip(rows.unbind(), strengths.unbind(), distances.unbind(), strict=True):
            torch.sub(w, row, out=difference)
            torch.linalg.vector_norm(difference, dim=1, out=distance)
            w.lerp_(row, self.pull(distance, strength)[:, None])
        self.compete(distances, part)
        return self._step_metrics(distances, part)

    @torch.no_grad()
    def minibatch(self, x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Learn from all of x (batch, *shape) at once."""
        w, rows = self.prototypes, x.flatten(1).to(self.prototypes)
        part, distances = training_progress(len(rows), seen, total), self.distances(x).to(self.prototypes)
        rate, range = (schedule.at(part).to(w)[:, None] for schedule in (self.rate, self.range))
        a = rate * self.neighbourhood(distances, range)
        mean = (a.T @ rows).to(w) / a.sum(0)[:, None].clamp(min=torch.finfo(w.dtype).tiny)
        w.lerp_(mean, -torch.expm1(torch.log1p(-a).sum(0))[:, None])
        self.compete(distances, part)
        return self._step_metrics(distances, part)

    @torch.no_grad()
    def gather(self, sums: Mapping[str, Tensor], x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Return the sums of a pass, empty at first, with x (batch, *shape) added; the prototypes stay.

        Args:
            sums: what this gave for the batches before.
            x: (batch, *shape).
            seen: examples learned from when the pass began: one range holds for all of it.
            total: examples of the whole training.
        """
        distances, part = self.distances(x), training_progress(1, seen, total)
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        h = self.neighbourhood(distances.to(wide), self.range.at(part).to(x.device, wide)[:, None])
        self.compete(distances, part.expand(len(x)))
        totals = {
            "weights": h.sum(0),
            "weighted": h.T @ x.flatten(1).to(wide),
            "squared": distances.amin(1).to(wide).square().sum(),
            "examples": torch.tensor(len(x)),
            "range": self.range.at(part)[0],
        }
        return {name: value + sums[name] if sums and name != "range" else value for name, value in totals.items()}

    @torch.no_grad()
    def replace(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set the prototypes by the sums of a pass; a unit that no example reached stays where it is."""
        weights = sums["weights"][:, None]
        means = sums["weighted"] / weights.clamp(min=torch.finfo(weights.dtype).tiny)
        self.prototypes.copy_(torch.where(weights > 0, means.to(self.prototypes), self.prototypes))
        return {"squared_distance": sums["squared"] / sums["examples"], "range": sums["range"]}

    def _step_metrics(self, distances: Tensor, part: Tensor) -> dict[str, Tensor]:
        now = part[-1:]
        annealed = {"rate": self.rate.at(now)[0], "range": self.range.at(now)[0]}
        return {"squared_distance": distances.amin(1).square().mean(), **annealed}


def training_progress(n: int, seen: int, total: int) -> Tensor:
    """Return which part of the training is over when each of the next n examples comes, (n,) float64 on the CPU."""
    return torch.arange(seen, seen + n, dtype=torch.float64).div_(total).clamp_(max=1.0)
