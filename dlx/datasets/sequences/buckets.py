"""Batches of sequences of about one length, so that little of them is padding."""

import torch
from torch import Tensor

from dlx.datasets.splits import Part, Split

WINDOW_BATCHES = 16  # batches whose examples are sorted together: the more, the less padding, and the less chance


def get_varying_lengths(split: Part) -> Tensor | None:
    """Return the lengths (examples,) of a split's sequences, None where they are all the same."""
    if not isinstance(split, Split) or split.lengths is None:
        return None
    return split.lengths if bool((split.lengths != split.x.shape[1]).any()) else None


def bucket_by_length(order: Tensor, lengths: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Rearrange an order so that each `batch` of it holds sequences of about one length.

    Sixteen batches at a time are sorted by length, and what has become of them is shuffled again. The last batch, if
    it is not full, stays as it was drawn.

    Args:
        order: (n,) int64, random.
        lengths: of all examples, that `order` points to.
        batch: examples of each.
        generator: what the order of the batches depends on.

    Returns:
        (n,) int64: the same examples.
    """
    full = len(order) // batch * batch
    parts = []
    for window in order[:full].split(WINDOW_BATCHES * batch):
        batches = window[lengths[window].argsort(stable=True)].view(-1, batch)
        parts.append(batches[torch.randperm(len(batches), generator=generator)].flatten())
    return torch.cat([*parts, order[full:]])


def trim(split: Split, steps: int) -> Split:
    """Return views of sequences (examples, T, …) without what lies beyond `steps`."""
    T = split.x.shape[1]
    if steps >= T:
        return split
    y = split.y
    if y is not None and y.ndim > 1 and y.shape[1] == T and (y.ndim > 2 or not y.is_floating_point()):
        y = y[:, :steps]  # an answer at each step
    return Split(split.x[:, :steps], y, split.lengths)


def compute_max_length(lengths: Tensor) -> int:
    """Return the steps that a batch of these lengths needs."""
    return max(int(lengths.max()), 1)
