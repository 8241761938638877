"""What one step of learning sees."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Examples of one step: a leading batch dimension everywhere."""

    x: Tensor  # (batch, *shape)
    y: Tensor | None = None  # (batch,) int64 labels, or (batch, outputs) float targets
    lengths: Tensor | None = None  # (batch,) int64, for padded sequences
