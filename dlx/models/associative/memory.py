"""What associative memories share: how data becomes states of the units."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """Base of the associative memories: units whose states reach from -1 to 1, as many as an example has elements.

    Data without negative values, such as images in [0, 1], is brought into [-1, 1]; other data is taken as it is.

    Args:
        shape: of one example.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape, self.N = tuple(shape), math.prod(shape)
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Look at examples (n, *shape) for the range of the data, before anything is stored."""
        if x.min() >= 0 and x.max() > 0:
            self.shift.copy_(x.max() / 2)
            self.scale.copy_(x.max() / 2)

    def states(self, x: Tensor) -> Tensor:
        """Return examples x (batch, *shape) as states, (batch, N)."""
        return (x.flatten(1) - self.shift) / self.scale

    def values(self, states: Tensor) -> Tensor:
        """Return states (batch, N) in the units of the data, (batch, *shape)."""
        return (states.to(self.scale.dtype) * self.scale + self.shift).view(-1, *self.shape)
