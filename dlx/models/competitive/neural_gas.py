"""Neural gas: prototypes that spread over the data like a gas, and a graph of who is next to whom.

T. Martinetz, S. Berkovich, K. Schulten, "'Neural-gas' network for vector quantization and its application to
time-series prediction", IEEE Transactions on Neural Networks 4, 1993, https://doi.org/10.1109/72.238311.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dlx.metrics import Metric
from dlx.models.competitive import graph
from dlx.models.competitive.annealed import Annealed, ExponentialDecay
from dlx.models.competitive.prototypes import ranks
from dlx.types import Count, Positive


class NeuralGas(Annealed):
    """w_i ← w_i + ε exp(-k_i/λ) (x - w_i), where k_i prototypes are nearer to x than w_i (eq. 7).

    With λ → 0 only the nearest one moves, which is online k-means; a large λ at first makes the result all but
    independent of where the prototypes began. At a fixed λ the step descends the energy
    E = Σ_x Σ_i exp(-k_i(x)/λ) |x - w_i|² / (2 Σ_k exp(-k/λ)), which the batch form never raises (Cottrell 2006).

    Args:
        shape: of one example.
        units: prototypes.
        range_start: λ at first; null for half the units.
        range_end: λ in the end.
        rate_start: ε at first.
        rate_end: ε in the end.
        lifetime_start: examples that a unit may win before an edge of it that is not renewed is forgotten, at first.
        lifetime_end: the same in the end.
        seed: of the examples that the prototypes begin as.
    """

    declares: ClassVar[tuple[str | Metric, ...]] = ("edges", "components")
    ages: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        units: Count = 20,
        range_start: Positive | None = None,
        range_end: Positive = 0.01,
        rate_start: Positive = 0.5,
        rate_end: Positive = 0.005,
        lifetime_start: Positive = 20.0,
        lifetime_end: Positive = 200.0,
        seed: int = 0,
    ) -> None:
        start = max(units / 2, range_end) if range_start is None else range_start
        super().__init__(shape, units, (rate_start, rate_end), ExponentialDecay(start, range_end), seed)
        self.lifetime = ExponentialDecay(lifetime_start, lifetime_end)
        self.register_buffer("ages", graph.make_empty_ages(units))

    @property
    def edges(self) -> Tensor:
        """Units that were the two nearest to an example lately, (units, units) bool."""
        return graph.edge_mask(self.ages)

    def counts(self) -> dict[str, float]:
        """Return the numbers of `edges` and of `components`, the parts of the graph that none of them joins."""
        edges = self.edges
        return {"edges": int(edges.sum()) / 2, "components": graph.count_components(edges)}

    def step_strengths(self, rate: Tensor, range: Tensor) -> Tensor:
        """Return ε exp(-k/λ) for k = 0, 1, …: (batch, units)."""
        k = torch.arange(self.units, dtype=rate.dtype)
        return rate[:, None] * torch.exp(-k / range[:, None])

    def pull(self, distances: Tensor, strength: Tensor) -> Tensor:
        """Return each rank's share at the unit that has this rank, (units,)."""
        return torch.empty_like(distances).scatter_(0, distances.argsort(), strength)

    def neighbourhood(self, distances: Tensor, range: Tensor) -> Tensor:
        """Return exp(-k/λ), (batch, units)."""
        return torch.exp(-ranks(distances) / range).to(distances.dtype)

    def compete(self, distances: Tensor, part: Tensor) -> None:
        """Join the two nearest units of each example."""
        if self.units > 1:
            graph.update_edges(self.ages, distances.topk(2, dim=1, largest=False).indices, self.lifetime.at(part))

    def energy(self, x: Tensor, range: float) -> Tensor:
        """Return E of x (batch, *shape) at λ = `range`, 0-d."""
        distances = self.distances(x).double()
        h = torch.exp(-ranks(distances).to(distances) / range)
        return (h * distances.square()).sum() / (2 * h[0].sum())
