"""Describe a dataset: columns, classes, splits, lengths, pictures, symbols, and what its readers noted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.description import columns, parts
from dlx.datasets.description.columns import Column
from dlx.datasets.description.parts import Seen
from dlx.datasets.splits import Part, Split

SPLITS = ("train", "val", "test")  # in the order of their use


@dataclass(frozen=True)
class ClassShare:
    """A class: how often it occurs in each split, and its share of all that are counted."""

    name: str
    counts: dict[str, int]  # by split
    share: float


@dataclass(frozen=True)
class Lengths:
    """How long the sequences are, in steps."""

    min: int
    median: float
    mean: float
    max: int
    padded_to: int


@dataclass(frozen=True)
class Pictures:
    """What pictures have in common as they are held, and what their files are."""

    channels: int
    height: int
    width: int
    white: float  # the value that stands for full intensity
    means: list[float]  # of each channel, in units of white
    # How many of the files that were looked at have each size, mode of Pillow's, and format; empty without files.
    files: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """A dataset, in plain numbers and text."""

    dataset: str  # its class
    source: str
    kind: str
    shape: list[int]  # of one example
    dtype: str  # of the examples as they are held
    splits: dict[str, int]
    made: bool  # whether training examples are made as they are needed; the split sizes are those of an epoch then
    columns: list[Column]  # over all splits
    classes: list[ClassShare]
    targets: list[Column]  # of a regression
    lengths: Lengths | None
    pictures: Pictures | None
    symbols: dict[str, int]  # how often each occurs, the most frequent first
    seen: list[str]  # which splits were looked at in part only
    notes: list[str]  # what was dropped, cast or guessed on the way in

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Described:
    """A dataset that was loaded and described, and the examples that this was seen in."""

    description: Description
    examples: dict[str, Seen]  # by split; targets unscaled, gaps NaN


def load_and_describe(dataset: Dataset) -> Described:
    """Load a dataset and describe what it read, before gaps were filled or targets scaled.

    Args:
        dataset: not yet loaded.

    Raises:
        UsageError: the data is not there or not good.
    """
    raw: dict[str, Part] = {}
    dataset.when_split(raw.update)
    dataset.load()
    order = sorted(raw, key=lambda name: [*SPLITS, name].index(name))
    most = parts.MOST_STEP_VALUES if dataset.kind in ("sequence", "symbols") else parts.MOST_VALUES
    seen = {name: parts.take_seen(raw[name], dataset.seed, most) for name in order}
    return Described(_describe(dataset, seen, raw), seen)


def _describe(dataset: Dataset, seen: Mapping[str, Seen], raw: Mapping[str, Part]) -> Description:
    first = seen["train"].split
    is_sequence = dataset.kind in ("sequence", "symbols")
    return Description(
        dataset=type(dataset).__name__,
        source=dataset.source,
        kind=dataset.kind,
        shape=list(first.x.shape[1:]),
        dtype=str(first.x.dtype).removeprefix("torch."),
        splits={name: part.total for name, part in seen.items()},
        made=dataset.step_layout == "generated",
        columns=_describe_columns(dataset, [part.split for part in seen.values()]),
        classes=_describe_classes(dataset, seen),
        targets=_describe_targets(dataset, seen),
        lengths=_describe_lengths([part.split for part in seen.values()]) if is_sequence else None,
        pictures=_describe_pictures(dataset, first) if dataset.kind == "image" else None,
        symbols=_count_symbols(dataset, [part.split for part in seen.values()]),
        seen=_join_said(seen),
        notes=list(dataset.notes),
    )


def _join_said(seen: Mapping[str, Seen]) -> list[str]:
    """Say which splits were looked at in part only; alike ones in one line."""
    splits: dict[str, list[str]] = {}
    for name, part in seen.items():
        if part.said is not None:
            splits.setdefault(part.said, []).append(name)
    return [f"{', '.join(names)}: {said}" for said, names in splits.items()]


def _describe_columns(dataset: Dataset, splits: Sequence[Split]) -> list[Column]:
    """Describe features of vectors, and channels of series over the steps that are there."""
    if dataset.kind == "vector":
        tables = [split.x.flatten(1) for split in splits]
    elif dataset.kind == "sequence":
        tables = [split.x[parts.mask_steps(split)].flatten(1) for split in splits]
    else:
        return []
    width = tables[0].shape[1]
    names = dataset.columns if dataset.columns and len(dataset.columns) == width else list(map(str, range(width)))
    return columns.describe_table(tables, names, dataset.categories)


def _describe_classes(dataset: Dataset, seen: Mapping[str, Seen]) -> list[ClassShare]:
    """Count the labels: of examples, or of each step of sequences that has one."""
    number = dataset.classes
    labels = {name: _take_labels(part) for name, part in seen.items()}
    if number is None or all(y is None for y in labels.values()):
        return []
    counts = {name: columns.count_labels([y], number) for name, y in labels.items() if y is not None}
    total = max(sum(map(sum, counts.values())), 1)
    names = dataset.names if dataset.names and len(dataset.names) == number else list(map(str, range(number)))
    return [
        ClassShare(name, own := {split: of[k] for split, of in counts.items()}, sum(own.values()) / total)
        for k, name in enumerate(names)
    ]


def _take_labels(part: Seen) -> Tensor | None:
    if part.y is None or part.y.is_floating_point():
        return None
    if part.y.ndim == 1 or part.split.y is None:
        return part.y
    return part.split.y[parts.mask_steps(part.split)]  # a label at each step


def _describe_targets(dataset: Dataset, seen: Mapping[str, Seen]) -> list[Column]:
    """Describe the targets of a regression, in their own units; those of each step all together."""
    ys = [part.y for part in seen.values() if part.y is not None and part.y.is_floating_point()]
    if not ys:
        return []
    if ys[0].ndim > 2:
        asked = torch.cat([y.flatten()[y.flatten() >= 0] for y in ys]) if dataset_asks_some(ys) else None
        every = torch.cat([y.flatten() for y in ys])
        return [columns.describe_numbers("of each step", every if asked is None else asked)]
    table = torch.cat([y.flatten(1) if y.ndim > 1 else y[:, None] for y in ys])
    names = dataset.target_names
    if len(names) != table.shape[1]:
        names = ["target"] if table.shape[1] == 1 else [f"target {i}" for i in range(table.shape[1])]
    return [columns.describe_numbers(name, table[:, i]) for i, name in enumerate(names)]


def dataset_asks_some(ys: Sequence[Tensor]) -> bool:
    """Return whether targets of steps are bits, of which -1 marks those that are not asked for."""
    return all(bool(((y == -1) | (y == 0) | (y == 1)).all()) for y in ys)


def _describe_lengths(splits: Sequence[Split]) -> Lengths:
    lengths = torch.cat([parts.mask_steps(split).sum(1) for split in splits])
    column = columns.describe_numbers("", lengths)
    assert column.median is not None
    assert column.mean is not None
    longest = max(split.x.shape[1] for split in splits)
    return Lengths(int(lengths.min()), column.median, column.mean, int(lengths.max()), longest)


def _describe_pictures(dataset: Dataset, split: Split) -> Pictures:
    white = float(getattr(dataset, "levels", 1.0))
    channels, height, width = split.x.shape[1:]
    total = torch.zeros(channels, dtype=torch.float64)
    for chunk in split.x.split(4096):
        total += chunk.double().sum((0, 2, 3))
    means = total * channels / max(split.x.numel(), 1) / white
    return Pictures(channels, height, width, white, means.tolist(), dataset.survey_files())


def _count_symbols(dataset: Dataset, splits: Sequence[Split]) -> dict[str, int]:
    if dataset.kind != "symbols":
        return {}
    names = dataset.vocabulary or dataset.names or list(map(str, range(dataset.symbols or 0)))
    counts = columns.count_labels([split.x[parts.mask_steps(split)] for split in splits], len(names))
    order = sorted(range(len(names)), key=lambda i: -counts[i])
    return {names[i]: counts[i] for i in order}
