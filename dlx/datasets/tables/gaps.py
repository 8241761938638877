"""What is done about the gaps of a table: rows are dropped or refused; those that stay are filled later."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from dlx.datasets import labels
from dlx.datasets.tables import numbers
from dlx.datasets.tables.delimited import DelimitedTable
from dlx.errors import UsageError


class GapRule(NamedTuple):
    """What is to be done; what stands for a gap among the features is said by the table's file."""

    missing: Literal["error", "drop", "mean"]
    missing_targets: Sequence[str]  # what stands for a gap in a target
    has_numeric_target: bool  # whether the target is known to be no class


def drop_gaps(
    table: DelimitedTable,
    indices: Sequence[int],
    targets: Sequence[int],
    rule: GapRule,
    note: Callable[[str], None],
    is_new: bool = False,
) -> DelimitedTable:
    """Drop rows with gaps, or refuse them, as always among new rows: each of these is to have its prediction.

    A row without a target is of no use even where gaps are filled.

    Args:
        table: with its rows.
        indices: columns of the features.
        targets: columns of the targets.
        rule: what to do.
        note: is told what was dropped, or is to be filled.
        is_new: whether the rows are to be predicted for.

    Raises:
        UsageError: a gap that is neither to be filled nor to be dropped, or one in every row.
    """
    gaps = {index: mask for index, mask in _find_gaps(table, indices, targets, rule) if mask.any()}
    total = sum(int(mask.sum()) for mask in gaps.values())
    among = ", ".join(table.names[index] for index in gaps)
    if rule.missing == "mean" and set(gaps) - set(targets):
        filled = {index: mask for index, mask in gaps.items() if index not in targets}
        count = sum(int(mask.sum()) for mask in filled.values())
        note(
            f"{table.path}: {count} gaps in the columns {', '.join(table.names[i] for i in filled)} were filled "
            "with the mean of the training rows"
        )
        gaps = {index: mask for index, mask in gaps.items() if index in targets}
    if not gaps:
        return table
    if rule.missing == "drop" and not is_new:
        dropped = np.logical_or.reduce(list(gaps.values()))
        if dropped.all():
            raise UsageError(f"{table.path} has a gap in every row; type dataset.missing=mean")
        kept = table.select_rows(~dropped)
        gone = _find_lost_classes(table, kept, targets, rule)
        classes = f"; {'class' if len(gone) == 1 else 'classes'} {', '.join(gone)} gone" if gone else ""
        note(f"{table.path}: {int(dropped.sum())} of {table.rows} rows dropped: gaps in {among}{classes}")
        return kept
    index, mask = next(iter(gaps.items()))
    row = int(mask.argmax())
    cell = table.read_cell(row, index)
    held = "is empty" if cell == "" else f"holds {cell!r}, which stands for a gap"
    more = f" ({total} gaps in the columns {among})" if total > 1 else ""
    if is_new:
        raise UsageError(
            f"{table.describe_cell(row, index)} {held}{more}; needed: a value; fill it in or remove the row"
        )
    fix = "" if index in targets else "dataset.missing=mean to fill gaps with the mean of the training rows, or "
    others = [value for value in table.file.cells.missing if value != cell]
    name = f', or "{_format_missing(others)}" to keep {cell!r} as a name' if cell else ""
    raise UsageError(
        f"{table.describe_cell(row, index)} {held}{more}; needed: a value; type {fix}"
        f"dataset.missing=drop to leave such rows out{name}"
    )


def _find_gaps(
    table: DelimitedTable, indices: Sequence[int], targets: Sequence[int], rule: GapRule
) -> list[tuple[int, np.ndarray]]:
    """Find the gaps (rows,) in each column."""
    found = [(index, table.texts[index].is_gap(rule.missing_targets)) for index in targets]
    has_gaps = table.has_numeric_gaps()
    for index in indices:
        if index in table.texts:
            found.append((index, table.texts[index].is_gap(table.file.cells.missing)))
        elif has_gaps:
            found.append((index, np.isnan(table.get_numbers(index))))
    return found


def _find_lost_classes(table: DelimitedTable, kept: DelimitedTable, targets: Sequence[int], rule: GapRule) -> list[str]:
    """Find the names of classes that no row is left of, those that stand for a gap among them."""
    if len(targets) != 1 or rule.has_numeric_target:
        return []
    before = table.texts[targets[0]].find_values([""])
    known = (value for value in before if value not in rule.missing_targets)
    if len(before) > labels.MAX_NUMERIC_CLASSES and all(table.file.cells.parse(value) is not None for value in known):
        return []  # numbers
    return sorted(set(before) - set(kept.texts[targets[0]].find_values([""])))


def _format_missing(values: Sequence[str]) -> str:
    short = values if len(values) <= 3 else [value for value in values if value == ""]
    return numbers.format_missing(short)
