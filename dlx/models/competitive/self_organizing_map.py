"""The self-organising map: prototypes on a lattice, whose neighbours learn together, so that it unfolds over the data.

T. Kohonen, "Self-organized formation of topologically correct feature maps", Biological Cybernetics 43, 1982,
https://doi.org/10.1007/BF00337288; "Self-Organizing Maps", Springer 1995. The U-matrix: A. Ultsch, H. P. Siemon,
"Kohonen's self organizing feature maps for exploratory data analysis", INNC 1990.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dlx.models.competitive.annealed import Annealed, ExponentialDecay
from dlx.models.competitive.lattice import adjacency, squared_distances, unit_positions
from dlx.types import Count, Positive


class SelfOrganizingMap(Annealed):
    """w_i ← w_i + ε exp(-|r_i - r_b|²/(2σ²)) (x - w_i), where b is the unit nearest to x, and r are lattice positions.

    Args:
        shape: of one example.
        rows: of the lattice.
        columns: of the lattice.
        lattice: `rectangular`, where a unit has four neighbours, or `hexagonal`, where it has six.
        start: prototypes begin on the `plane` of the two first principal components, one standard deviation to each
            side (Kohonen's linear initialisation), or as training `examples`.
        range_start: σ at first, in steps of the lattice; null for half of its longer side.
        range_end: σ in the end.
        rate_start: ε at first.
        rate_end: ε in the end.
        seed: of the examples that the prototypes begin as.
    """

    positions: Tensor
    apart: Tensor
    joined: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        rows: Count = 10,
        columns: Count = 10,
        lattice: Literal["rectangular", "hexagonal"] = "hexagonal",
        start: Literal["plane", "examples"] = "plane",
        range_start: Positive | None = None,
        range_end: Positive = 0.5,
        rate_start: Positive = 0.5,
        rate_end: Positive = 0.01,
        seed: int = 0,
    ) -> None:
        widest = max(max(rows, columns) / 2, range_end) if range_start is None else range_start
        super().__init__(shape, rows * columns, (rate_start, rate_end), ExponentialDecay(widest, range_end), seed)
        self.rows, self.columns, self.lattice, self.start = rows, columns, lattice, start
        positions = unit_positions(rows, columns, lattice)
        self.register_buffer("positions", positions.float(), persistent=False)  # follow from the configuration
        self.register_buffer("apart", squared_distances(positions).float(), persistent=False)
        self.register_buffer("joined", adjacency(positions), persistent=False)

    @property
    def edges(self) -> Tensor:
        """Neighbours on the lattice, (units, units) bool."""
        return self.joined

    def _initialize(self, rows: Tensor) -> None:
        if self.start == "examples":
            super()._initialize(rows)
            return
        low, high = self.positions.amin(0), self.positions.amax(0)
        sides = 2 * (self.positions - low) / (high - low).clamp(min=1e-12) - 1  # from -1 to 1
        sides = torch.where(high > low, sides, 0.0)
        spread = self.project(rows).std(0, correction=0)
        self.prototypes.copy_(rows.mean(0) + (sides * spread).to(rows) @ self.plane.T)

    def step_strengths(self, rate: Tensor, range: Tensor) -> Tensor:
        """Return -1/(2σ²) and ε, (batch, 2)."""
        return torch.stack([-0.5 / range.square(), rate], dim=1)

    def pull(self, distances: Tensor, strength: Tensor) -> Tensor:
        """Return ε exp(-|r_i - r_b|²/(2σ²)), (units,)."""
        narrow, rate = strength.unbind()
        return self.apart.index_select(0, distances.argmin(0, keepdim=True))[0].mul(narrow).exp_().mul_(rate)

    def neighbourhood(self, distances: Tensor, range: Tensor) -> Tensor:
        """Return exp(-|r_i - r_b|²/(2σ²)), (batch, units)."""
        return torch.exp(-0.5 * self.apart[distances.argmin(1)].to(range) / range.square())

    @property
    def u_matrix(self) -> Tensor:
        """Mean distance of each prototype to those of its neighbours, (rows, columns): high between clusters."""
        d = torch.cdist(self.prototypes, self.prototypes) * self.joined
        return (d.sum(1) / self.joined.sum(1).clamp(min=1)).view(self.rows, self.columns)

    def pictures(self) -> dict[str, Tensor]:
        """Draw the map over the data, its U-matrix, and the prototypes in their places on the lattice.

        Where examples are no images, each feature's values over the lattice instead, at most sixteen of them.
        """
        from dlx.figures.networks import cells, network

        drawn = {"graph": super().pictures()["graph"]}
        hexagonal, turned = self.lattice == "hexagonal", self.positions * self.positions.new_tensor([1.0, -1.0])
        drawn["u_matrix"] = cells(turned, {"distance to the neighbours": self.u_matrix.flatten()}, hexagonal)
        if self.prototype_images is not None:
            drawn["lattice"] = network(turned, self.edges, images=self.prototype_images)
        else:
            features = {f"feature {i}": self.prototypes[:, i] for i in range(min(self.prototypes.shape[1], 16))}
            drawn["features"] = cells(turned, features, hexagonal)
        return drawn
