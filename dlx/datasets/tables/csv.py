"""The user's own table: a CSV file, or any delimited text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.dataset import Split, Stream
from dlx.datasets.tables import delimited
from dlx.datasets.tables.delimited import MISSING, DelimitedTable
from dlx.datasets.tables.preprocessing import TablePreprocessing
from dlx.datasets.tables.table import Table
from dlx.errors import UsageError
from dlx.types import Count, Fraction

MISSING_TARGETS = MISSING - {"none", "-"}  # of a target: "none" is a good name for a class
MAX_ONE_HOT = 100  # different texts of one column that still get a column each


class Feature(NamedTuple):
    """A column that a model sees."""

    name: str
    column: int  # in the training file
    values: list[str] | None = None  # one column is made of each, where the column holds text


class Csv(Table):
    """Rows of numbers, one of whose columns may be the target.

    Args:
        path: of the file; separators, a header and a byte order mark are recognised.
        test_path: a file with the test rows, of the same columns; null takes `test` of the rows of `path`.
        target: column to predict, by name or place (-1 is the last); several for a regression; null for none.
        target_type: `classes`, `numbers`, or `auto`: text, and up to twenty different whole numbers, are classes.
        columns: features to use, by name or place; null for all.
        ignore: features to leave out.
        one_hot: make a column of each value of a column that holds text.
        missing: `error`; `drop` leaves rows with gaps out; `mean` puts the mean of the training rows.
        header: whether the first line names the columns.
        delimiter: a character, `tab`, `space` or `auto`.
        decimal: the decimal point.
        encoding: of the text.
        shape, classes, outputs, seed, val, test, limit, scale, scale_target: as in `Table`.
    """

    fitted = ("target", "target_type", "features", "has_header", "header_names", "target_indices", "fill_values")

    def __init__(
        self,
        path: str | None = None,
        test_path: str | None = None,
        target: str | int | Sequence[str | int] | None = -1,
        target_type: Literal["auto", "classes", "numbers"] = "auto",
        columns: Sequence[str | int] | None = None,
        ignore: Sequence[str | int] = (),
        one_hot: bool = False,
        missing: Literal["error", "drop", "mean"] = "error",
        header: bool | Literal["auto"] = "auto",
        delimiter: str = "auto",
        decimal: Literal[".", ","] = ".",
        encoding: str = "utf-8",
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "standard", "minmax"] = "standard",
        scale_target: Literal["none", "standard"] = "standard",
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit, scale, scale_target)
        self.path, self.test_path = path, test_path
        self.targets: list[str | int] = [target] if isinstance(target, str | int) else list(target or ())
        self.target: str | None = None  # its name
        self.target_type: Literal["auto", "classes", "numbers"] = target_type
        self.selected_columns, self.ignore, self.one_hot, self.missing = columns, list(ignore), one_hot, missing
        self.header, self.delimiter, self.decimal, self.encoding = header, delimiter, decimal, encoding
        self.features: list[Feature] = []
        # Of the training file:
        self.has_header, self.header_names, self.target_indices = False, list[str](), list[int]()
        self.fill_values = torch.zeros(())  # (features,) what stands for a gap

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> dict[str, Split | Stream]:
        table = self._read_table(files.require_path(self.path, "dataset.path", "FILE.csv"))
        if not self.is_fitted:
            self.has_header, self.header_names = table.has_header, table.names
            targets = self.target_indices = [table.find_column(column, "dataset.target") for column in self.targets]
            self.target = table.names[targets[0]] if targets else None
            self.features = self._select_features(table, targets)
            self.columns = [name for feature in self.features for name in _column_names(feature)]
        parts: dict[str, Split | Stream] = {"train": self._make_split(table, self._find_targets(table))}
        if self.test_path is not None:
            other = self._read_table(files.require_path(self.test_path, "dataset.test_path", "FILE.csv"))
            parts["test"] = self._make_split(other, self._find_targets(other))
        return parts

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "features": [list(feature) for feature in self.features]}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore({**state, "features": [Feature(*feature) for feature in state["features"]]})

    def check_finite(self, values: Tensor, what: str) -> None:
        # Gaps that were asked to be filled are filled by `prepare`, from the training split alone.
        super().check_finite(values.nan_to_num(0) if self.missing == "mean" else values, what)

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if not self.is_fitted:
            self.fill_values = train.x.nanmean(0).nan_to_num(0)
        if self.missing == "mean":
            for name, part in self.splits.items():
                assert isinstance(part, Split)
                self.splits[name] = Split(torch.where(part.x.isnan(), self.fill_values, part.x), part.y)
            train = Split(torch.where(train.x.isnan(), self.fill_values, train.x), train.y)
        super().prepare(train)

    def inputs(self, path: Path) -> Split:
        """Read raw features (n, features) from another file; a target in it is passed over."""
        # One row may look like a header, or a header like a row: the training file's names tell.
        table = delimited.read_table(path, self.delimiter, False, self.encoding)
        if not self.has_header or set(table.rows[0]) & set(self.header_names):
            table = self._read_table(path)
        x = self._extract_features(table)
        return Split(torch.where(x.isnan(), self.fill_values, x) if self.missing == "mean" else x)

    def make_preprocessing(self) -> TablePreprocessing:
        return TablePreprocessing(self)

    # -- columns -----------------------------------------------------------------------------------------------------

    def _read_table(self, path: Path) -> DelimitedTable:
        return delimited.read_table(path, self.delimiter, self.header, self.encoding)

    def _select_features(self, table: DelimitedTable, targets: list[int]) -> list[Feature]:
        if self.selected_columns is None:
            indices = [i for i in range(len(table.names)) if i not in targets]
        else:
            indices = [table.find_column(column, "dataset.columns") for column in self.selected_columns]
        left_out = {table.find_column(column, "dataset.ignore") for column in self.ignore}
        indices = [i for i in indices if i not in left_out]
        if set(indices) & set(targets):
            raise UsageError(f"{table.path}: the target {self.target!r} is among dataset.columns; leave it out there")
        if not indices:
            raise UsageError(f"{table.path} has no column besides the target; needed: at least one feature")
        features, text = [], []
        for index in indices:
            _, row = table.parse_column(index, self.decimal)
            if row is None:
                features.append(Feature(table.names[index], index))
            elif self.one_hot:
                values = sorted({cells[index] for cells in table.rows if cells[index].lower() not in MISSING})
                if len(values) > MAX_ONE_HOT:
                    raise UsageError(
                        f"{table.path}: column {table.names[index]!r} holds {len(values)} different texts; needed: at "
                        f"most {MAX_ONE_HOT} for dataset.one_hot; type 'dataset.ignore=[{_quote(table.names[index])}]'"
                    )
                features.append(Feature(table.names[index], index, values))
            else:
                text.append((index, row))
        if text:
            index, row = text[0]
            names = ",".join(_quote(table.names[index]) for index, _ in text)
            comma = "," in table.rows[row][index] and self.decimal == "."
            raise UsageError(
                f"{table.describe_cell(row, index)} holds text ({table.rows[row][index]!r}); needed: numbers; type "
                f"'dataset.ignore=[{names}]' to leave {'it' if len(text) == 1 else 'such columns'} out, or "
                "dataset.one_hot=true to make a column of each value"
                + (", or dataset.decimal=',' if that is a decimal point" if comma else "")
            )
        return features

    def _find_targets(self, table: DelimitedTable) -> list[int]:
        """Find a file's columns of the targets: by name, or by place if it or the training file has no names."""
        if table.has_header and self.has_header:
            return [table.find_column(self.header_names[i], "dataset.target") for i in self.target_indices]
        if len(table.names) != len(self.header_names):
            raise UsageError(
                f"{table.path} has {len(table.names)} columns; needed: {len(self.header_names)}, as in the data that "
                "was trained on"
            )
        return self.target_indices

    def _find_features(self, table: DelimitedTable) -> list[int]:
        """Find a file's columns of the features: by name, or by place if it or the training file has no names."""
        if table.has_header and self.has_header:
            return [table.find_column(feature.name, f"{self.path}: column") for feature in self.features]
        indices = [feature.column for feature in self.features]
        if len(table.names) == len(self.header_names):
            return indices
        if len(table.names) + len(self.target_indices) == len(self.header_names):  # rows to predict have no target
            return [index - sum(target < index for target in self.target_indices) for index in indices]
        raise UsageError(
            f"{table.path} has {len(table.names)} columns; needed: {len(self.header_names)}, as in {self.path}"
        )

    def _extract_features(self, table: DelimitedTable) -> Tensor:
        """Extract the features (rows, columns) of a file, NaN for gaps."""
        columns = []
        for feature, index in zip(self.features, self._find_features(table), strict=True):
            if feature.values is not None:
                cells = np.array([row[index] for row in table.rows])
                columns += [(cells == value).astype(np.float64) for value in feature.values]
                continue
            numbers, text = table.parse_column(index, self.decimal)
            if text is not None:
                raise UsageError(
                    f"{table.describe_cell(text, index)} holds text ({table.rows[text][index]!r}); needed: a number"
                )
            infinite = np.flatnonzero(np.isinf(numbers))
            if len(infinite):
                row = int(infinite[0])
                raise UsageError(
                    f"{table.describe_cell(row, index)} holds {table.rows[row][index]}; needed: a finite number"
                )
            columns.append(numbers)
        return torch.from_numpy(np.stack(columns, 1)).float()

    def _make_split(self, table: DelimitedTable, targets: list[int]) -> Split:
        table = self._drop_gaps(table, targets)
        x = self._extract_features(table)
        empty = x.isnan().all(0)
        if empty.any():
            name = (self.columns or [])[int(empty.nonzero()[0])]
            raise UsageError(f"{table.path}: column {name!r} holds no values; type 'dataset.ignore=[{_quote(name)}]'")
        if not targets:
            return Split(x)
        columns = [table.parse_column(index, self.decimal) for index in targets]
        text = any(row is not None for _, row in columns)
        if text and len(targets) > 1:
            raise UsageError(f"{table.path}: several targets were given and one holds text; needed: numbers")
        values = np.array([row[targets[0]] for row in table.rows]) if text else np.stack([v for v, _ in columns], 1)
        what = f"{table.path}, column {table.names[targets[0]]!r}"
        if not text and len(targets) == 1:
            values = values[:, 0]
        y, self.names = labels.encode_targets(values, what, self.target_type, self.names)
        self.target_type = "classes" if self.names else "numbers"  # the test file follows the training file
        return Split(x, y)

    def _drop_gaps(self, table: DelimitedTable, targets: list[int]) -> DelimitedTable:
        """Drop rows with gaps, or refuse them. A row without a target is of no use even where gaps are filled."""
        indices = [] if self.missing == "mean" else self._find_features(table)
        gap = {
            index: np.array(
                [row[index].lower() in (MISSING_TARGETS if index in targets else MISSING) for row in table.rows]
            )
            for index in [*targets, *indices]
        }
        gaps = {index: mask for index, mask in gap.items() if mask.any()}
        if not gaps:
            return table
        if self.missing == "drop":
            kept = table.select_rows(~np.logical_or.reduce(list(gaps.values())))
            if not kept.rows:
                raise UsageError(f"{table.path} has a gap in every row; type dataset.missing=mean")
            return kept
        index, mask = next(iter(gaps.items()))
        total = sum(int(mask.sum()) for mask in gaps.values())
        more = f" ({total} gaps in the columns {', '.join(table.names[p] for p in gaps)})" if total > 1 else ""
        fix = "" if index in targets else "dataset.missing=mean to fill gaps with the mean of the training rows, or "
        raise UsageError(
            f"{table.describe_cell(int(np.flatnonzero(mask)[0]), index)} is empty{more}; needed: a value; type {fix}"
            "dataset.missing=drop to leave such rows out"
        )


def _column_names(feature: Feature) -> list[str]:
    return [feature.name] if feature.values is None else [f"{feature.name}={value}" for value in feature.values]


def _quote(name: str) -> str:
    """Quote a name as Hydra's command line takes it within a list."""
    return name if name.replace("_", "").replace(" ", "").isalnum() else '"' + name.replace('"', '\\"') + '"'
