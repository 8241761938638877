"""One way of a directed layer of binary units."""

import torch
from torch import Tensor, nn


class Directed(nn.Module):
    """Inputs h W + b of units, whose probabilities are their sigmoid.

    Args:
        inputs: units on the near side.
        outputs: units on the far side.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.W = nn.Parameter(0.01 * torch.randn(inputs, outputs))
        self.b = nn.Parameter(torch.zeros(outputs))

    def forward(self, h: Tensor) -> Tensor:
        """Return the inputs (batch, outputs) of h (batch, inputs)."""
        return torch.addmm(self.b, h, self.W)
