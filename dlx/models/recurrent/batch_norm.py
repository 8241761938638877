"""Batch normalization of sequences: between layers, and within the recurrence. Padding never counts."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM, EPSILON = 0.1, 1e-5  # torch's


class SequenceNorm(nn.BatchNorm1d):
    """Normalizes each feature over all real steps of all sequences of a batch.

    C. Laurent et al., "Batch Normalized Recurrent Neural Networks", 2015, https://arxiv.org/abs/1510.01378.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalize x (batch, T, features); what lies beyond `lengths` (batch,) becomes 0."""
        if lengths is None:
            return super().forward(x.flatten(0, 1)).view_as(x)
        real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        normalized = super().forward(x[real])
        return normalized.new_zeros(x.shape).masked_scatter(real[:, :, None], normalized)


class TimeStep(NamedTuple):
    """Where in time a step is."""

    t: int  # steps before it
    mask: Tensor | None  # (batch,) bool: sequences that have it; None for all


class StepNorm(nn.Module):
    """Normalizes each feature over the batch, with running statistics of each step's own.

    The first steps of a recurrence are a transient whose statistics differ from later ones (T. Cooijmans et al., §4);
    steps beyond the last that has its own share that one's.

    Args:
        features: size.
        steps: that have statistics of their own.
        bias: whether a learned shift follows; where another bias is added anyway there is none.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, steps: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), 0.1))  # §4: gradients through tanh vanish from 1
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None
        self.register_buffer("mean", torch.zeros(steps, features))
        self.register_buffer("variance", torch.ones(steps, features))

    def forward(self, x: Tensor, step: TimeStep) -> Tensor:
        """Normalize one step of all sequences, x (batch, features)."""
        t = min(step.t, len(self.mean) - 1)
        mean, variance = self.mean[t], self.variance[t]
        if not self.training or (step.mask is None and len(x) > 1):
            return F.batch_norm(x, mean, variance, self.weight, self.bias, self.training, MOMENTUM, EPSILON)
        real = x.new_ones(len(x)) if step.mask is None else step.mask.to(x.dtype)
        n = real.sum()
        now = (real[:, None] * x).sum(0) / n.clamp(min=1)
        spread = (real[:, None] * (x - now).square()).sum(0) / n.clamp(min=1)
        with torch.no_grad():
            rate = MOMENTUM * (n > 1).to(mean.dtype)  # one sequence says nothing of a variance
            mean.lerp_(now.to(mean.dtype), rate)
            variance.lerp_((spread * n / (n - 1).clamp(min=1)).to(mean.dtype), rate)
        scaled = (x - now) * (spread + EPSILON).rsqrt() * self.weight
        return scaled if self.bias is None else scaled + self.bias


class StepNorms(nn.Module):
    """The recurrent batch normalization of one layer in one direction.

    T. Cooijmans et al., "Recurrent Batch Normalization", 2016, https://arxiv.org/abs/1603.09025, eq. 6-8: W x_t and
    U h_{t-1} are normalized each by itself, and so is the cell of an LSTM where it is revealed.

    Args:
        gates: rows of W and U.
        cell: units of an LSTM's cell; None for other layers.
        steps: that have statistics of their own.
    """

    def __init__(self, gates: int, cell: int | None, steps: int) -> None:
        super().__init__()
        self.inputs, self.hidden = StepNorm(gates, steps), StepNorm(gates, steps)
        self.cell = nn.Identity() if cell is None else StepNorm(cell, steps, bias=True)
