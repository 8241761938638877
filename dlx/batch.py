"""Define the batch that one training step is given."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """The examples of one step, with a leading batch dimension everywhere."""

    x: Tensor  # (batch, *shape)
    y: Tensor | None = None  # (batch,) int64 labels, or (batch, outputs) float targets
    lengths: Tensor | None = None  # (batch,) int64, for padded sequences
