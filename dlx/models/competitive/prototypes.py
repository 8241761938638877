"""What models with prototypes share: who is nearest, how well that stands for the data, and how it is drawn."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.types import Count

MAX_SHOWN = 1000  # examples that are drawn beneath the prototypes
MAX_VALUES = 2**22  # values from which the plane of the pictures is found


class Prototypes(nn.Module):
    """Base: units with a prototype each, of the shape of an example, and a graph that joins some of them.

    An example belongs to the unit whose prototype is nearest in the Euclidean sense. Prototypes are a buffer: no
    gradient moves them. They begin as training examples, drawn by `seed`.

    Args:
        shape: of one example.
        units: prototypes.
        seed: of the examples that they begin as.
    """

    accepts = ("image", "vector")
    declares: ClassVar[tuple[str | Metric, ...]] = ("quantisation_error", "topographic_error", "squared_distance")
    updates: ClassVar[tuple[str, ...]] = ("online", "minibatch", "batch")  # how it may learn
    prototypes: Tensor
    offset: Tensor
    plane: Tensor
    shown: Tensor

    def __init__(self, shape: Sequence[int], units: Count, seed: int = 0) -> None:
        super().__init__()
        self.shape, self.units, self.seed = tuple(shape), units, seed
        D = math.prod(shape)
        self.register_buffer("prototypes", torch.zeros(units, D))
        # The plane in which the prototypes are drawn stays the same, so that epochs can be compared.
        self.register_buffer("offset", torch.zeros(D))
        self.register_buffer("plane", torch.zeros(D, 2))
        self.register_buffer("shown", torch.full((MAX_SHOWN, 2), torch.inf))

    @property
    def centres(self) -> Tensor:
        """The prototypes in the shape of the data, (units, *shape)."""
        return self.prototypes.view(-1, *self.shape)

    @property
    def edges(self) -> Tensor:
        """Which units are neighbours, (units, units) bool, symmetric."""
        raise NotImplementedError

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Begin with examples x (n, *shape): the prototypes, and the plane in which they will be drawn.

        Raises:
            UsageError: there are fewer examples than units that begin as one.
        """
        rows = x.flatten(1).to(self.prototypes)
        self._fit_plane(rows)
        self._initialize(rows)

    def _initialize(self, rows: Tensor) -> None:
        self.prototypes.copy_(rows[self._choose_examples(len(rows), self.units)])

    def _choose_examples(self, n: int, units: int) -> Tensor:
        """Return the indices of `units` different ones of n examples."""
        if n < units:
            raise UsageError(
                f"{units} units were given for {n} training examples; needed: at most as many units, since each begins "
                f"as an example; type model.units={max(n // 10, 2)}"
            )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(self.seed))
        return order[:units].to(self.prototypes.device)

    def _fit_plane(self, rows: Tensor) -> None:
        """Find the two first principal directions; data of one or two dimensions is drawn as it is."""
        D = rows.shape[1]
        if D <= 2:
            self.plane.copy_(torch.eye(D, 2))
        else:
            few = rows[: max(MAX_VALUES // D, 100)].double().cpu()
            self.offset.copy_(few.mean(0))
            self.plane.copy_(principal_directions(few - few.mean(0)))
        self.shown[: len(rows[:MAX_SHOWN])] = self.project(rows[:MAX_SHOWN])

    def project(self, rows: Tensor) -> Tensor:
        """Return rows (n, features) in the plane of the pictures, (n, 2)."""
        return (rows - self.offset) @ self.plane

    # -- what they say of examples -----------------------------------------------------------------------------------

    def distances(self, x: Tensor) -> Tensor:
        """Return the Euclidean distances of x (batch, *shape) to the prototypes, (batch, units)."""
        return torch.cdist(x.flatten(1).to(self.prototypes), self.centres.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the index of the unit nearest to each of x (batch, *shape), (batch,) int64."""
        return self.distances(x).argmin(1)

    def encode(self, x: Tensor) -> Tensor:
        """Return the `distances`: the code of an example is how far it is from each prototype."""
        return self.distances(x)

    def ranks(self, x: Tensor) -> Tensor:
        """Return how many prototypes are nearer to x (batch, *shape) than each one, (batch, units) int64."""
        return ranks(self.distances(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the nearest prototype of each of x (batch, *shape), in the same shape."""
        return self.centres[self(x)]

    def counts(self) -> dict[str, float]:
        """Return numbers of the graph itself, logged with what is measured of examples; none by default."""
        return {}

    def measures(self, x: Tensor) -> dict[str, Tensor]:
        """Return how well the map stands for x (batch, *shape), one value for each example.

        `quantisation_error`, the distance to the nearest prototype, and `topographic_error`, 1 where the two nearest
        units are no neighbours (Kiviluoto 1996); also the `counts`, 0-d.
        """
        nearest, pair = self.distances(x).topk(2, dim=1, largest=False)
        joined = self.edges[pair[:, 0], pair[:, 1]]
        errors = {"quantisation_error": nearest[:, 0], "topographic_error": 1.0 - joined.to(nearest.dtype)}
        return errors | {name: nearest.new_tensor(count) for name, count in self.counts().items()}

    # -- pictures ------------------------------------------------------------------------------------------------------

    @property
    def prototype_images(self) -> Tensor | None:
        """The prototypes as images (units, C, H, W) in [0, 1]; None where examples are none."""
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            return None
        images = self.centres.detach().float().cpu()
        low, high = images.min(), images.max()
        return (images - low) / (high - low).clamp(min=1e-12)

    def pictures(self) -> dict[str, Tensor]:
        """Draw the graph over training examples, in their own plane or that of their two first principal components.

        Where examples are images, also the graph with each prototype's picture in its place.
        """
        from dlx.figures.networks import plot_network

        places, edges = self.project(self.centres.flatten(1)), self.edges
        drawn = {"graph": plot_network(places, edges, data=self.shown)}
        if self.prototype_images is not None:
            drawn["prototypes"] = plot_network(places, edges, images=self.prototype_images)
        return drawn


def principal_directions(centred: Tensor) -> Tensor:
    """Return the two first principal directions, (features, 2), of rows (n, features) whose mean is 0.

    They have length 1, or 0 where there is none. The largest element of each is positive, so that
    rounding does not decide which way it points.
    """
    n, D = centred.shape
    if n >= D:
        _, directions = torch.linalg.eigh(centred.T @ centred)  # the largest eigenvalue last
    else:
        directions = centred.T @ torch.linalg.eigh(centred @ centred.T).eigenvectors
    two = torch.nn.functional.pad(directions[:, -2:].flip(1), (0, 2 - min(n, D, 2)))
    two = two / two.norm(dim=0).clamp(min=1e-12)
    result: Tensor = two * two.gather(0, two.abs().argmax(0, keepdim=True)).sign()
    return result


def ranks(distances: Tensor) -> Tensor:
    """Return the place of each value in its row, 0 for the smallest: (batch, units) int64 of (batch, units)."""
    order = distances.argsort(1)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
