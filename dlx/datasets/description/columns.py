"""Describe columns of numbers and of categories: type, range, gaps, counts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Column:
    """A column of the data, or a channel of its series, in the data's own units."""

    name: str
    type: str  # number, whole number, bit, category
    values: int  # cells that hold something
    gaps: int = 0
    min: float | None = None
    median: float | None = None
    mean: float | None = None
    std: float | None = None  # of all values, not of a sample: divided by their number
    max: float | None = None
    distinct: int | None = None
    categories: dict[str, int] = field(default_factory=dict)  # how often each occurs, the most frequent first


def describe_numbers(name: str, cells: Tensor) -> Column:
    """Describe numbers (n,); NaN is a gap."""
    cells = cells.double()
    values = cells[~cells.isnan()]
    gaps = len(cells) - len(values)
    if not len(values):
        return Column(name, "number", 0, gaps)
    ordered = values.sort().values
    distinct = 1 + int((ordered[1:] != ordered[:-1]).sum())
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    low, high = float(ordered[0]), float(ordered[-1])
    whole = bool((values == values.round()).all())
    bits = whole and low >= 0 and high <= 1
    return Column(
        name=name,
        type="bit" if bits else "whole number" if whole else "number",
        values=len(values),
        gaps=gaps,
        min=low,
        median=float(median),
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        max=high,
        distinct=distinct,
    )


def describe_categories(name: str, counts: Mapping[str, int], gaps: int = 0) -> Column:
    """Describe a column by how often each of its categories occurs."""
    ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
    return Column(name, "category", sum(counts.values()), gaps, distinct=len(ordered), categories=ordered)


def describe_table(
    parts: Sequence[Tensor], names: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> list[Column]:
    """Describe the columns that features were made of.

    Args:
        parts: (n, features) each.
        names: of the features.
        categories: of each column of text: its features are called `column=category`, or it is one of codes.
    """
    columns = []
    for name, indices in group_features(names, categories):
        cells = [torch.cat([part[:, i] for part in parts]) for i in indices]
        if name not in categories:
            columns.append(describe_numbers(name, cells[0]))
            continue
        values = categories[name]
        if names[indices[0]] == name:  # one feature, of codes
            counts = {value: int((cells[0] == code).sum()) for code, value in enumerate(values)}
        else:
            counts = {value: int((cell == 1).sum()) for value, cell in zip(values, cells, strict=True)}
        columns.append(describe_categories(name, counts, len(cells[0]) - sum(counts.values())))
    return columns


def group_features(names: Sequence[str], categories: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[int]]]:
    """Yield the columns in their order, each with the indices of the features that were made of it."""
    owner = {f"{name}={value}": name for name, values in categories.items() for value in values}
    grouped: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        grouped.setdefault(owner.get(name, name), []).append(i)
    yield from grouped.items()


def count_labels(labels: Iterable[Tensor], number: int) -> list[int]:
    """Count labels 0 … number - 1; others (a step that is not asked for, say) are passed over."""
    total = torch.zeros(number, dtype=torch.int64)
    for part in labels:
        flat = part.flatten()
        total += flat[(flat >= 0) & (flat < number)].bincount(minlength=number)
    return [int(count) for count in total]
