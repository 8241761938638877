"""The features that a model sees of a table's columns: numbers as they are, categories as columns of zeros and ones."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets.tables import numbers
from dlx.datasets.tables.delimited import DelimitedTable
from dlx.errors import UsageError

MAX_ONE_HOT = 100  # different texts of one column that still get a column each


class Feature(NamedTuple):
    """A column that a model sees."""

    name: str
    column: int  # in the training file
    values: list[str] | None = None  # where the column holds text: the categories that the training file has
    one_hot: bool = True  # whether each category gets a column; else there are two, false and true, and one column

    @property
    def names(self) -> list[str]:
        """What the columns that are made of it are called."""
        return [self.name] if self.values is None or not self.one_hot else [f"{self.name}={v}" for v in self.values]


def make_features(
    table: DelimitedTable, indices: Sequence[int], one_hot: bool, note: Callable[[str], None]
) -> list[Feature]:
    """Make the features of a training file by what its columns hold.

    Args:
        table: with its rows; columns that turn out to be text are read again.
        indices: of the columns.
        one_hot: whether a column of text becomes a column of each value.
        note: is told what was guessed.

    Raises:
        UsageError: text without `one_hot`, too many different texts, or thousands separators.
    """
    missing = table.file.cells.missing
    flipped = [index for index in indices if index in table.first_text]
    table.read_texts(flipped if one_hot else flipped[:1])
    first_text = dict(table.first_text)  # of each column that holds text, its row
    for index in indices:
        if index in table.texts and index not in first_text:
            row = table.parse_text(index, missing)[1]
            if row is not None:
                first_text[index] = row
    features, refused = [], []
    for index in indices:
        name = table.names[index]
        if index not in first_text:
            features.append(Feature(name, index))
            continue
        values = table.texts[index].find_values(missing) if index in table.texts else []
        check_thousands(table, index, values)
        if not one_hot and values and {value.lower() for value in values} == {"false", "true"}:
            features.append(Feature(name, index, values, one_hot=False))
            note(f"{table.path}: column {name!r} holds {values[0]} and {values[1]}, taken for 0 and 1")
        elif not one_hot:
            refused.append(index)
        elif len(values) > MAX_ONE_HOT:
            raise UsageError(
                f"{table.path}: column {name!r} holds {len(values)} different texts; needed: at most {MAX_ONE_HOT} "
                f"for dataset.one_hot; type 'dataset.ignore=[{quote_name(name)}]'"
            )
        else:
            features.append(Feature(name, index, values))
    if refused:
        raise _describe_text(table, refused, first_text[refused[0]])
    return features


def _describe_text(table: DelimitedTable, columns: list[int], row: int) -> UsageError:
    cell = table.read_cell(row, columns[0])
    what = f"{table.describe_cell(row, columns[0])} {numbers.explain_text(cell, table.file.cells.decimal)}"
    names = ",".join(quote_name(table.names[index]) for index in columns)
    comma = "," in cell and table.file.cells.decimal == "."
    return UsageError(
        f"{what}; type 'dataset.ignore=[{names}]' to leave {'it' if len(columns) == 1 else 'such columns'} out, or "
        "dataset.one_hot=true to make a column of each value"
        + (", or dataset.decimal=',' if that is a decimal point" if comma else "")
    )


def check_thousands(table: DelimitedTable, column: int, values: Sequence[str]) -> None:
    """Refuse a column whose texts would all be numbers but for a thousands separator: nobody names things so."""
    marks = {}  # of each text that is no number
    for value in values:
        if table.file.cells.parse(value) is None:
            mark = numbers.find_thousands(value, table.file.cells.decimal)
            if mark is None:
                return
            marks[value] = mark
    if not marks:
        return
    text = table.texts[column]
    row = int(np.array([value in marks for value in text.values])[text.codes].argmax())
    value = text.values[text.codes[row]]
    mark = marks[value]
    raise UsageError(
        f"{table.describe_cell(row, column)} holds {value!r}, whose {mark!r} is no decimal point (dataset.decimal="
        f"{table.file.cells.decimal!r}); type \"dataset.thousands='{mark}'\" if it separates thousands"
        + (", or \"dataset.decimal=','\" if it is a decimal point" if mark == "," else "")
    )


def extract_features(
    table: DelimitedTable,
    features: Sequence[Feature],
    indices: Sequence[int],
    unknown: Literal["error", "ignore"],
    note: Callable[[str], None],
) -> Tensor:
    """Extract the features (rows, columns) float64 of a file, NaN for gaps.

    Args:
        table: with its rows.
        features: of the training file.
        indices: their columns in this one.
        unknown: what to do about categories that the training file does not have.
        note: is told of them.

    Raises:
        UsageError: a category that the training file does not have.
    """
    if table.numeric == list(indices) and all(feature.values is None for feature in features):
        return torch.from_numpy(table.matrix)  # as it was read: no second copy
    columns = []
    for feature, index in zip(features, indices, strict=True):
        if feature.values is not None:
            columns += _encode_categories(table, feature, index, unknown, note)
        elif index in table.texts:  # no cell of it looked like a number at first
            columns.append(table.parse_text(index, table.file.cells.missing)[0])
        else:
            columns.append(table.get_numbers(index))
    return torch.from_numpy(np.stack(columns, 1))


def _encode_categories(
    table: DelimitedTable,
    feature: Feature,
    index: int,
    unknown: Literal["error", "ignore"],
    note: Callable[[str], None],
) -> list[np.ndarray]:
    """Encode a column of text: a column (rows,) float64 for each category, or one for two; NaN for gaps."""
    assert feature.values is not None
    text = table.texts[index]
    gaps = text.is_gap(table.file.cells.missing)
    place = {value: i for i, value in enumerate(feature.values)}
    codes = np.array([place.get(value, -1) for value in text.values], dtype=np.int64)[text.codes]
    strange = (codes < 0) & ~gaps
    if strange.any():
        row = int(strange.argmax())
        value, seen = text.values[text.codes[row]], ", ".join(feature.values[:20])
        if unknown == "error" or not feature.one_hot:
            hint = "; type dataset.unknown=ignore to take such values for none of them" if feature.one_hot else ""
            raise UsageError(
                f"{table.describe_cell(row, index)} holds {value!r}, which training did not see; needed: one of "
                f"{seen}{hint}"
            )
        note(
            f"{table.path}: {int(strange.sum())} of {table.rows} cells of column {feature.name!r} hold values that "
            f"training did not see, such as {value!r} ({seen}); all of their columns are 0"
        )
    values = [codes == i for i in range(len(feature.values))] if feature.one_hot else [codes == 1]
    return [np.where(gaps, np.nan, value.astype(np.float64)) for value in values]


def quote_name(name: str) -> str:
    """Quote a name as Hydra's command line takes it within a list."""
    return name if name.replace("_", "").replace(" ", "").isalnum() else '"' + name.replace('"', '\\"') + '"'
