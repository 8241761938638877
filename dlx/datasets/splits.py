"""What splits are made of: examples in memory, examples still to be read, examples made as they are needed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Subset


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in memory, on the CPU; images may be uint8."""

    x: Tensor  # (examples, *shape)
    # (examples,) int64 labels, (examples, outputs) float targets, or (examples, T) labels and (examples, T, outputs)
    # targets of each step.
    y: Tensor | None = None
    lengths: Tensor | None = None  # (examples,) int64, for sequences that are padded at their ends

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> "Split":
        """Return the examples at `index`, (n,) int64, copied."""
        parts = (self.x, self.y, self.lengths)
        return Split(*(None if part is None else part.index_select(0, index) for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Stream:
    """Examples too large for memory, read when a batch needs them.

    Args:
        data: a map-style torch dataset of (x, y): x a tensor of the dataset's shape, y a label or a target.
        y: all labels, (examples,) int64, where they are known: a stratified split needs them.
    """

    data: Any
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Tensor) -> "Stream":
        """Return the examples at `index`, (n,) int64, still to be read."""
        return Stream(Subset(self.data, index.tolist()), None if self.y is None else self.y[index])


@dataclass(frozen=True, eq=False)
class Generated:
    """Examples that are made when a batch needs them, on its device, and never twice.

    Args:
        make: `make(examples, generator)` gives so many of them, on the generator's device; what is drawn depends on the
            generator alone. Those of one call may be longer or shorter than those of the next.
        examples: that are called an epoch.
    """

    make: Callable[[int, torch.Generator], Split]
    examples: int

    def __len__(self) -> int:
        return self.examples


Part = Split | Stream | Generated
# Examples of one length, of several, or made as they are needed.
StepLayout = Literal["fixed", "varying", "generated"]


def find_step_layout(part: Part) -> StepLayout:
    """Tell whether examples are of one length, of several, or made as they are needed."""
    if isinstance(part, Generated):
        return "generated"
    varies = isinstance(part, Split) and part.lengths is not None and bool((part.lengths != part.x.shape[1]).any())
    return "varying" if varies else "fixed"


def split_stratified(rows: Tensor, y: Tensor | None, wanted: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `wanted` of `rows`, each class in proportion (to within one example), and return them and the others.

    Args:
        rows: (n,) int64, into `y`.
        y: labels; targets that are not integers, or None, are drawn from at random.
        wanted: how many, at most n.
        generator: what the draw depends on.

    Returns:
        The chosen (wanted,) and the others (n - wanted,), each in random order.
    """
    rows = rows[torch.randperm(len(rows), generator=generator)]
    if y is None or y.is_floating_point() or y.ndim != 1:
        return rows[:wanted], rows[wanted:]
    labels = y[rows]
    counts = labels.bincount()
    share = counts.double() * wanted / len(rows)
    quota = share.floor().long()
    # The largest remainders get what rounding down left over.
    quota[(share - quota).argsort(descending=True, stable=True)[: wanted - int(quota.sum())]] += 1
    by_class = labels.argsort(stable=True)
    rank = torch.empty_like(by_class)  # of each row within its class
    rank[by_class] = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[labels[by_class]]
    taken = rank < quota[labels]
    return rows[taken], rows[~taken]
