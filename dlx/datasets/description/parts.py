"""Take the part of a split that is looked at: all of it, or a random part where that would be too much."""

import random
from typing import NamedTuple

import torch
from torch import Tensor

from dlx.datasets.splits import Generated, Part, Split, Stream

MOST_VALUES = 2**26  # numbers of a split in memory
MOST_STEP_VALUES = 2**23  # of sequences, each of whose channels is one column
MOST_STREAMED = 1000  # examples that are read one by one
GENERATED_BATCHES, GENERATED = 32, 8  # examples that are made as they are needed: those of a batch have one length


class Seen(NamedTuple):
    """Examples of one split that are looked at."""

    split: Split
    total: int  # examples of the whole split, or of its epoch
    y: Tensor | None  # labels or targets: of all its examples where they are known without reading these
    said: str | None = None  # which part it is; None for all


def take_seen(part: Part, seed: int = 0, most: int = MOST_VALUES) -> Seen:
    """Take the examples of a split to look at.

    Args:
        part: the split.
        seed: of the random part.
        most: numbers of a split in memory that are all looked at.
    """
    total = len(part)
    if isinstance(part, Generated):
        made = _make(part, torch.Generator().manual_seed(seed))
        said = f"examples are made as they are needed; {len(made)} are looked at, made for this with seed {seed}"
        return Seen(made, total, made.y, said)
    if isinstance(part, Stream):
        rows = sorted(random.Random(seed).sample(range(total), min(total, MOST_STREAMED)))
        read = _read(part, rows)
        y = read.y if part.y is None else part.y
        return Seen(read, total, y, _say(len(rows), total))
    number = max(most // max(part.x[0].numel(), 1), 1)
    if total <= number:
        return Seen(part, total, part.y)
    rows = sorted(random.Random(seed).sample(range(total), number))
    return Seen(part.take(torch.tensor(rows)), total, part.y, _say(number, total))


def _make(part: Generated, generator: torch.Generator) -> Split:
    """Make a few batches; those shorter than the longest are padded, their targets of steps with -1: not asked for."""
    batches = [part.make(GENERATED, generator) for _ in range(GENERATED_BATCHES)]
    steps = [batch.x.shape[1] for batch in batches]
    if any(batch.lengths is not None for batch in batches) or batches[0].x.ndim < 3 or len(set(steps)) == 1:
        return Split(torch.cat([batch.x for batch in batches]), *(_join(batches, name) for name in ("y", "lengths")))
    xs = torch.cat([_pad_steps(batch.x, max(steps), 0) for batch in batches])
    targets = [batch.y for batch in batches if batch.y is not None]
    if targets and targets[0].ndim > 1 and targets[0].shape[1] == steps[0]:
        targets = [_pad_steps(y, max(steps), -1) for y in targets]
    of_each = torch.tensor(steps).repeat_interleave(GENERATED)
    return Split(xs, torch.cat(targets) if targets else None, of_each)


def _join(batches: list[Split], name: str) -> Tensor | None:
    found = [value for batch in batches if (value := getattr(batch, name)) is not None]
    return torch.cat(found) if found else None


def _pad_steps(values: Tensor, steps: int, by: float) -> Tensor:
    """Pad (n, T, …) to `steps`."""
    missing = values.new_full((len(values), steps - values.shape[1], *values.shape[2:]), by)
    return torch.cat((values, missing), 1)


def _say(number: int, total: int) -> str | None:
    return None if number == total else f"a random {number:,} of {total:,} examples are looked at"


def _read(stream: Stream, rows: list[int]) -> Split:
    pairs = [stream.data[row] for row in rows]
    x = torch.stack([torch.as_tensor(x) for x, _ in pairs])
    if stream.y is not None:
        return Split(x, stream.y[torch.tensor(rows)])
    targets = [torch.as_tensor(y) for _, y in pairs if y is not None]
    return Split(x, torch.stack(targets) if len(targets) == len(rows) else None)


def mask_steps(split: Split) -> Tensor:
    """Return which steps of sequences (examples, T, …) are no padding, (examples, T)."""
    steps = torch.arange(split.x.shape[1])
    lengths = split.lengths if split.lengths is not None else torch.full((len(split.x),), split.x.shape[1])
    return steps < lengths[:, None]
