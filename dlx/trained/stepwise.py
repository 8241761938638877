"""Predict for sequences of different lengths: each at its own length, with a row for each of its steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlx.datasets.sequences.padding import concatenate


class Steps(NamedTuple):
    """The steps of sequences (examples, T), padded at their ends."""

    lengths: Tensor  # (examples,)
    names: Sequence[Sequence[str]] | None = None  # of each one's steps, such as the words of a sentence

    def index_columns(self) -> dict[str, list[Any]]:
        """Return the columns that identify each step: its sequence, its place in it, and its name."""
        lengths = self.lengths.tolist()
        columns: dict[str, list[Any]] = {
            "sequence": [i for i, n in enumerate(lengths) for _ in range(n)],
            "step": [t for n in lengths for t in range(n)],
        }
        if self.names is not None:
            columns["word"] = [word for words in self.names for word in words]
        return columns

    def flatten(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Flatten columns (examples, T, …) to columns (steps, …), without padding."""
        longest = max(int(self.lengths.max()), 1)
        real = torch.arange(longest) < self.lengths[:, None]
        return {name: values[:, :longest][real] for name, values in columns.items()}


def iterate_chunks(x: Tensor, lengths: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield row indices (n,) and examples x (n, …), at most `size`: those of one length together, without padding."""
    if lengths is None:
        yield from zip(torch.arange(len(x)).split(size), x.split(size), strict=True)
        return
    for length in lengths.unique().tolist():
        for rows in (lengths == length).nonzero()[:, 0].split(size):
            yield rows, x[rows, :length]


def concat_chunks(rows: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """Concatenate chunks to (examples, …) in their original order; -1 or NaN pads shorter sequences."""
    whole = concatenate(values, float("nan") if values[0].is_floating_point() else -1)
    return whole[torch.cat(list(rows)).argsort()]
