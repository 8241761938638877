"""The user's own table: a CSV file, or any delimited text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.labels import EncodedTargets
from dlx.datasets.splits import Part, Split, Stream
from dlx.datasets.tables import numbers
from dlx.datasets.tables.delimited import MISSING, CellFormat, DelimitedFile, DelimitedTable
from dlx.datasets.tables.features import Feature, check_thousands, extract_features, make_features, quote_name
from dlx.datasets.tables.gaps import GapRule, drop_gaps
from dlx.datasets.tables.preprocessing import TablePreprocessing
from dlx.datasets.tables.table import Table
from dlx.errors import UsageError
from dlx.types import Count, Fraction

NAMES = ("None", "none", "NONE", "-")  # stand for gaps among features, and are good names for a class
PERMUTED = 16  # columns whose rows are put in another order at once: two lines of a cache


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
        unknown: what to do about a value of such a column that the training file does not have: `error`, or `ignore`
            it, so that all of its columns are 0.
        missing: `error`; `drop` leaves rows with gaps out; `mean` puts the mean of the training rows.
        missing_values: what stands for a gap, to the letter; null for an empty cell, NA, N/A, NaN, null, none, ? and -
            (in a target, none and - are names).
        header: whether the first line names the columns; `auto` tells by the types of the columns.
        delimiter: a character, `tab`, `space` or `auto`.
        decimal: the decimal point.
        thousands: what separates thousands, such as `.` in 1.234,5; null for nothing.
        encoding: of the text.
        shape, classes, outputs, seed, val, test, limit, scale, scale_target: as in `Table`.
    """

    fitted: ClassVar[tuple[str, ...]] = (
        *("target", "target_type", "features", "has_header", "header_names", "target_indices", "fill_values"),
        *("decimal", "thousands", "missing_values", "missing_targets"),  # new rows are read by training's rules
    )

    def __init__(
        self,
        path: str | None = None,
        test_path: str | None = None,
        target: str | int | Sequence[str | int] | None = -1,
        target_type: Literal["auto", "classes", "numbers"] = "auto",
        columns: Sequence[str | int] | None = None,
        ignore: Sequence[str | int] = (),
        one_hot: bool = False,
        unknown: Literal["error", "ignore"] = "error",
        missing: Literal["error", "drop", "mean"] = "error",
        missing_values: Sequence[str | float | bool | None] | None = None,
        header: bool | Literal["auto"] = "auto",
        delimiter: str = "auto",
        decimal: Literal[".", ","] = ".",
        thousands: str | None = None,
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
        self.header, self.delimiter, self.encoding, self.unknown = header, delimiter, encoding, unknown
        self.missing_values = list(MISSING) if missing_values is None else [numbers.to_cell(v) for v in missing_values]
        # `none` is a good name for a class, unless it was said to be a gap.
        self.missing_targets = [v for v in self.missing_values if missing_values is not None or v not in NAMES]
        if thousands is not None and (len(thousands) != 1 or thousands == decimal or thousands.isalnum()):
            raise UsageError(
                f"dataset.thousands={thousands} was given; needed: one character that is no decimal point (dataset."
                f"decimal={decimal})"
            )
        self.decimal, self.thousands = decimal, thousands
        # Of the training file:
        self.features: list[Feature] = []
        self.has_header, self.header_names, self.target_indices = False, list[str](), list[int]()
        self.fill_values = torch.zeros(())  # (features,) float64 what stands for a gap

    @property
    def source(self) -> str:
        return str(self.path)

    @property
    def cells(self) -> CellFormat:
        """How cells are to be understood."""
        return CellFormat(self.decimal, self.thousands, self.missing_values)

    @property
    def _gap_rule(self) -> GapRule:
        return GapRule(self.missing, self.missing_targets, self.target_type == "numbers")

    def read(self) -> dict[str, Split | Stream]:
        path = files.require_path(self.path, "dataset.path", "FILE.csv")
        parts: dict[str, Split | Stream] = {"train": self._read_part(path) if self.is_fitted else self._fit_to(path)}
        if self.test_path is not None:
            parts["test"] = self._read_part(files.require_path(self.test_path, "dataset.test_path", "FILE.csv"))
        return parts

    def _fit_to(self, path: Path) -> Split:
        """Read the training file and keep what its columns are."""
        file = self._open(path)
        self.has_header, self.header_names = file.has_header, file.names
        targets = self.target_indices = [file.find_column(column, "dataset.target") for column in self.targets]
        self.target = file.names[targets[0]] if targets else None
        indices = self._select_columns(file, targets)
        texts = [index for index in indices if file.looks_like_text(index)]
        table = file.read([index for index in indices if index not in texts], [*targets, *texts])
        self.features = make_features(table, indices, self.one_hot, self.note)
        self.columns = [name for feature in self.features for name in feature.names]
        self._note_left_out(file, indices, targets)
        return self._make_split(table, indices, targets)

    def _read_part(self, path: Path) -> Split:
        """Read a file with targets as the training file was read."""
        file = self._open(path, (lambda first: self._find_header(first) or None) if self.has_header else None)
        indices, targets = self._find_features(file), self._find_targets(file)
        table = self._read_features(file, indices, targets)
        self._note_left_out(file, indices, targets)
        return self._make_split(table, indices, targets)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "features": [list(feature) for feature in self.features]}

    @property
    def categories(self) -> Mapping[str, Sequence[str]]:
        return {feature.name: feature.values for feature in self.features if feature.values is not None}

    @property
    def target_names(self) -> Sequence[str]:
        return [self.header_names[index] for index in self.target_indices]

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore({**state, "features": [Feature(*feature) for feature in state["features"]]})

    def check_finite(self, values: Tensor, what: str) -> None:
        # Cells are finite, or gaps that `prepare` fills from the training split alone: others were dropped or refused.
        pass

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if not self.is_fitted:
            fill = train.x.nanmean(0).nan_to_num(0) if self.missing == "mean" else torch.zeros(train.x.shape[1])
            self.fill_values = fill.double()
        if self.missing == "mean":
            for name, part in self.splits.items():
                assert isinstance(part, Split)
                self.splits[name] = Split(torch.where(part.x.isnan(), self.fill_values, part.x), part.y)
            train = Split(torch.where(train.x.isnan(), self.fill_values, train.x), train.y)
        super().prepare(train)

    def take_parts(self, part: Split | Stream, rows: Mapping[str, Tensor]) -> Mapping[str, Part]:
        """Take the splits' rows: all of them where the table lies in memory, which holds its values once."""
        assert isinstance(part, Split)
        order, sizes = torch.cat(list(rows.values())), [len(index) for index in rows.values()]
        if len(order) < len(part):  # `limit`
            return super().take_parts(part, rows)
        for low in range(0, part.x.shape[1], PERMUTED):
            columns = part.x[:, low : low + PERMUTED]
            columns.copy_(columns.index_select(0, order))
        ys = [None] * len(sizes) if part.y is None else part.y[order].split(sizes)
        return {name: Split(x, y) for name, x, y in zip(rows, part.x.split(sizes), ys, strict=True)}

    def inputs(self, path: Path) -> Split:
        """Read raw features (n, features) from another file; a target in it is passed over."""
        # One row may look like a header, or a header like a row: the training file's names tell.
        file = self._open(path, self._find_header if self.has_header else None)
        indices = self._find_features(file)
        table = drop_gaps(self._read_features(file, indices, []), indices, [], self._gap_rule, self.note, is_new=True)
        self._note_left_out(file, indices, [])
        x = extract_features(table, self.features, indices, self.unknown, self.note)
        return Split(torch.where(x.isnan(), self.fill_values, x) if self.missing == "mean" else x)

    def make_preprocessing(self) -> TablePreprocessing:
        return TablePreprocessing(self)

    # -- columns -----------------------------------------------------------------------------------------------------

    def _open(self, path: Path, header: Callable[[list[str]], bool | None] | None = None) -> DelimitedFile:
        file = DelimitedFile(path, self.delimiter, header or self.header, self.encoding, self.cells)
        for note in file.notes:
            self.note(note)
        return file

    def _note_left_out(self, file: DelimitedFile, indices: list[int], targets: list[int]) -> None:
        """Note which columns of a file that was read are no features and no targets, and what was trimmed."""
        others = [name for i, name in enumerate(file.names) if i not in indices and i not in targets]
        if others:
            self.note(f"{file.path}: {len(others)} of {len(file.names)} columns not used ({files.format_some(others)})")
        if file.trimmed:
            self.note(f"{file.path}: white space around cells was left out")

    def _find_header(self, first: list[str]) -> bool:
        """Return whether the first row of another file holds names of the training file's columns."""
        known = [cell in self.header_names for cell in first if cell]
        return all(known) or any(cell in self.header_names and self.cells.parse(cell) is None for cell in first)

    def _select_columns(self, file: DelimitedFile, targets: list[int]) -> list[int]:
        if self.selected_columns is None:
            indices = [i for i in range(len(file.names)) if i not in targets]
        else:
            indices = [file.find_column(column, "dataset.columns") for column in self.selected_columns]
        left_out = {file.find_column(column, "dataset.ignore") for column in self.ignore}
        indices = [i for i in indices if i not in left_out]
        if set(indices) & set(targets):
            raise UsageError(f"{file.path}: the target {self.target!r} is among dataset.columns; leave it out there")
        if not indices:
            raise UsageError(f"{file.path} has no column besides the target; needed: at least one feature")
        return indices

    def _find_targets(self, file: DelimitedFile) -> list[int]:
        """Find a file's columns of the targets: by name, or by place if it or the training file has no names."""
        if file.has_header and self.has_header:
            return [file.find_column(self.header_names[i], "dataset.target") for i in self.target_indices]
        if len(file.names) != len(self.header_names):
            raise UsageError(
                f"{file.path} has {len(file.names)} columns; needed: {len(self.header_names)}, as in the data that was "
                "trained on"
            )
        return self.target_indices

    def _find_features(self, file: DelimitedFile) -> list[int]:
        """Find a file's columns of the features: by name, or by place if it or the training file has no names."""
        if file.has_header and self.has_header:
            return [file.find_column(feature.name, f"{self.path}: column") for feature in self.features]
        indices = [feature.column for feature in self.features]
        if len(file.names) == len(self.header_names):
            return indices
        if len(file.names) + len(self.target_indices) == len(self.header_names):  # rows to predict have no target
            return [index - sum(target < index for target in self.target_indices) for index in indices]
        raise UsageError(
            f"{file.path} has {len(file.names)} columns; needed: {len(self.header_names)}, as in {self.path}"
        )

    def _read_features(self, file: DelimitedFile, indices: list[int], targets: list[int]) -> DelimitedTable:
        """Read a file's features, and targets, as the training file has them."""
        texts = [index for feature, index in zip(self.features, indices, strict=True) if feature.values is not None]
        table = file.read([index for index in indices if index not in texts], [*targets, *texts])
        for index, row in table.first_text.items():
            cell = table.read_cell(row, index)
            what = numbers.explain_text(cell, self.cells.decimal)
            raise UsageError(f"{table.describe_cell(row, index)} {what}, as in {self.path}")
        return table

    # -- rows --------------------------------------------------------------------------------------------------------

    def _make_split(self, table: DelimitedTable, indices: list[int], targets: list[int]) -> Split:
        table = drop_gaps(table, indices, targets, self._gap_rule, self.note)
        x = extract_features(table, self.features, indices, self.unknown, self.note)
        for place, name in enumerate(self.columns or []):
            if bool(x[:1, place].isnan().any()) and bool(x[:, place].isnan().all()):
                raise UsageError(
                    f"{table.path}: column {name!r} holds no values; type 'dataset.ignore=[{quote_name(name)}]'"
                )
        if not targets:
            return Split(x)
        if len(targets) == 1:
            y, self.names, note = self._encode_target(table, targets[0])
            if note:
                self.note(note)
        else:
            y = torch.from_numpy(np.stack([self._parse_target(table, index, targets) for index in targets], 1))
        self.target_type = "classes" if self.names else "numbers"  # the test file follows the training file
        return Split(x, y)

    def _encode_target(self, table: DelimitedTable, index: int) -> EncodedTargets:
        what, text = f"{table.path}, column {table.names[index]!r}", table.texts[index]
        values, row = table.parse_text(index, self.missing_targets)
        how = self.target_type
        if row is not None and how != "classes":
            check_thousands(table, index, text.find_values(self.missing_targets))
        is_guess = how == "auto" and row is None
        if how == "numbers" or (is_guess and not labels.is_categorical(values)):
            if row is not None:
                cell = table.read_cell(row, index)
                raise UsageError(
                    f"{table.describe_cell(row, index)} {numbers.explain_text(cell, self.cells.decimal)}; or type "
                    "dataset.target_type=classes"
                )
            return labels.encode_numbers(values, what, how)
        encoded = labels.encode_classes(text.codes, text.values, what, self.names, table.find_line)
        return encoded._replace(note=labels.describe_guess(what, values, True)) if is_guess else encoded

    def _parse_target(self, table: DelimitedTable, index: int, targets: list[int]) -> np.ndarray:
        values, row = table.parse_text(index, self.missing_targets)
        if row is not None:
            raise UsageError(
                f"{table.describe_cell(row, index)} {numbers.explain_text(table.read_cell(row, index))}: several "
                "targets were given and one holds text; needed: numbers"
            )
        return values
