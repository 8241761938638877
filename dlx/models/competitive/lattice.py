"""Where the units of a self-organising map stand: rows and columns, of squares or of hexagons."""

import math
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["rectangular", "hexagonal"]


def unit_positions(rows: int, columns: int, kind: Kind) -> Tensor:
    """Return the positions of the units, row by row, (rows * columns, 2) float64; neighbours are 1 apart."""
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    across, down = c.double(), r.double()
    if kind == "hexagonal":  # every other row is half a cell to the right
        across, down = across + 0.5 * (r % 2), down * math.sqrt(3) / 2
    return torch.stack([across.flatten(), down.flatten()], dim=1)


def adjacency(positions: Tensor) -> Tensor:
    """Return which units are 1 apart, (units, units) bool: four in a rectangular lattice, six in a hexagonal one."""
    apart = squared_distances(positions).sqrt()
    return (apart > 0.5) & (apart < 1.01)


def squared_distances(positions: Tensor) -> Tensor:
    """Return the squared distances on the lattice, (units, units), of positions (units, 2)."""
    return (positions[:, None] - positions[None]).square().sum(2)
