"""Growing neural gas: a graph that follows the data's topology, and grows where it stands for the data worst.

B. Fritzke, "A growing neural gas network learns topologies", NIPS 7, 1995.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.competitive import graph
from dlx.models.competitive.prototypes import Prototypes
from dlx.types import Count, Fraction, Probability


class GrowingNeuralGas(Prototypes):
    """The nearest unit goes a part of the way to the example, its neighbours in the graph a smaller part.

    The two nearest units are joined; edges of the nearest one age, and old ones vanish, with the units that lose their
    last edge. Each unit adds up the squared distances of what it wins, as its error, which fades. Every so many
    examples a new unit is put half way between that of the largest error and its worst neighbour.

    Units live in buffers of a fixed size, of which `active` says what is in use.

    Args:
        shape: of one example.
        capacity: units at most; once there are as many, no more are added until one vanishes.
        insert_every: λ, examples between insertions.
        rate: ε_b, the nearest unit's part of the way.
        neighbour_rate: ε_n, that of its neighbours.
        lifetime: a_max, examples that a unit may win before an edge of it that is not renewed vanishes.
        split_decay: α, what is left of the errors of the two units between which a new one is put.
        error_decay: d, what is left of every error after each example.
        seed: of the two examples that it begins with.

    Raises:
        UsageError: less than two units.
    """

    updates = ("online",)
    declares: ClassVar[tuple[str | Metric, ...]] = ("units", "edges", "components")
    ages: Tensor
    error: Tensor
    active: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        capacity: Count = 100,
        insert_every: Count = 100,
        rate: Probability = 0.2,
        neighbour_rate: Probability = 0.006,
        lifetime: Count = 50,
        split_decay: Probability = 0.5,
        error_decay: Fraction = 0.995,
        seed: int = 0,
    ) -> None:
        if capacity < 2:
            raise UsageError(f"model.capacity={capacity} was given; needed: at least 2, with which it begins")
        super().__init__(shape, capacity, seed)
        self.insert_every, self.lifetime = insert_every, lifetime
        self.rate, self.neighbour_rate = rate, neighbour_rate
        self.split_decay, self.error_decay = split_decay, error_decay
        self.register_buffer("ages", graph.make_empty_ages(capacity))
        self.register_buffer("error", torch.zeros(capacity))
        self.register_buffer("active", torch.arange(capacity) < 2)

    def _initialize(self, rows: Tensor) -> None:
        self.prototypes[:2] = rows[self._choose_examples(len(rows), 2)]

    @property
    def centres(self) -> Tensor:
        """The prototypes of the units that are there, (active units, *shape)."""
        return self.prototypes[self.active].view(-1, *self.shape)

    @property
    def edges(self) -> Tensor:
        """Which of the units that are there are joined, (active units, active units) bool."""
        return graph.edge_mask(self.ages)[self.active][:, self.active]

    def counts(self) -> dict[str, float]:
        """Return the numbers of `units`, of `edges` and of `components`, the parts that no edge joins."""
        edges = self.edges
        return {"units": len(edges), "edges": int(edges.sum()) / 2, "components": graph.count_components(edges)}

    @torch.no_grad()
    def online(self, x: Tensor, seen: int, total: int) -> dict[str, Tensor]:
        """Learn from x (batch, *shape), one after the other, when `seen` examples were learned from.

        Nothing is annealed: it does not matter how many there will be in `total`.
        """
        rows = x.flatten(1).to(self.prototypes)
        nearest = [self._learn_from(row, signal) for signal, row in enumerate(rows.unbind(), seen + 1)]
        self.error.mul_(self.active)  # whoever comes in the place of one that vanished has an error of its own
        return {"squared_distance": torch.stack(nearest).mean(), "units": self.active.sum().to(torch.float32)}

    def _learn_from(self, row: Tensor, signal: int) -> Tensor:
        """Do steps 2 to 9 of the paper for row (features,); return its squared distance to the nearest unit, 0-d."""
        w, ages, error = self.prototypes, self.ages, self.error
        squared = (row - w).square_().sum(1).masked_fill_(~self.active, torch.inf)
        distances, pair = squared.topk(2, largest=False)
        first, second = pair.split(1)
        age = ages.index_select(0, first)[0]
        linked = age.isfinite()
        error.index_add_(0, first, distances[:1])
        w.lerp_(row, (linked * self.neighbour_rate).to(w).index_fill_(0, first, self.rate)[:, None])
        age.add_(1.0).index_fill_(0, second, 0.0)
        age.masked_fill_(age > self.lifetime, torch.inf)
        ages.index_copy_(0, first, age[None])
        ages.index_copy_(1, first, age[:, None])
        torch.lt(ages.amin(1), torch.inf, out=self.active)  # units without edges vanish
        if signal % self.insert_every == 0:
            self._insert_unit()
        error.mul_(self.error_decay)
        return distances[0]

    def _insert_unit(self) -> None:
        """Insert a unit half way between that of the largest error, q, and its worst neighbour, f (step 8)."""
        free = (~self.active).nonzero()
        if len(free) == 0:
            return
        r = free[0, 0]
        q = self.error.masked_fill(~self.active, -1.0).argmax()
        f = self.error.masked_fill(~graph.edge_mask(self.ages[q]), -1.0).argmax()
        self.prototypes[r] = (self.prototypes[q] + self.prototypes[f]) / 2
        self.ages[q, f] = self.ages[f, q] = torch.inf
        for old in (q, f):
            self.ages[old, r] = self.ages[r, old] = 0.0
            self.error[old] *= self.split_decay
        self.error[r] = self.error[q]
        self.active[r] = True
