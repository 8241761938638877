"""The user's own table: a CSV file, or any delimited text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.dataset import Part, Split, Stream
from dlx.datasets.labels import EncodedTargets
from dlx.datasets.tables import numbers
from dlx.datasets.tables.delimited import MISSING, CellFormat, DelimitedFile, DelimitedTable
from dlx.datasets.tables.table import Table
from dlx.errors import UsageError
from dlx.types import Count, Fraction

NAMES = ("None", "none", "NONE", "-")  # stand for gaps among features, and are good names for a class
PERMUTED = 16  # columns whose rows are put in another order at once: two lines of a cache
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
        self.features = self._make_features(table, indices)
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
        table = self._drop_gaps(self._read_features(file, indices, []), indices, [], is_new=True)
        self._note_left_out(file, indices, [])
        x = self._extract_features(table, indices)
        return Split(torch.where(x.isnan(), self.fill_values, x) if self.missing == "mean" else x)

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

    def _make_features(self, table: DelimitedTable, indices: list[int]) -> list[Feature]:
        """Make the features of a training file by what its columns hold."""
        flipped = [index for index in indices if index in table.first_text]
        table.read_texts(flipped if self.one_hot else flipped[:1])
        first_text = dict(table.first_text)  # of each column that holds text, its row
        for index in indices:
            if index in table.texts and index not in first_text:
                row = table.parse_text(index, self.missing_values)[1]
                if row is not None:
                    first_text[index] = row
        features, refused = [], []
        for index in indices:
            name = table.names[index]
            if index not in first_text:
                features.append(Feature(name, index))
                continue
            values = table.texts[index].find_values(self.missing_values) if index in table.texts else []
            self._check_thousands(table, index, values)
            if not self.one_hot and values and {value.lower() for value in values} == {"false", "true"}:
                features.append(Feature(name, index, values, one_hot=False))
                self.note(f"{table.path}: column {name!r} holds {values[0]} and {values[1]}, taken for 0 and 1")
            elif not self.one_hot:
                refused.append(index)
            elif len(values) > MAX_ONE_HOT:
                raise UsageError(
                    f"{table.path}: column {name!r} holds {len(values)} different texts; needed: at most {MAX_ONE_HOT} "
                    f"for dataset.one_hot; type 'dataset.ignore=[{_quote(name)}]'"
                )
            else:
                features.append(Feature(name, index, values))
        if refused:
            raise self._describe_text(table, refused, first_text[refused[0]])
        return features

    def _describe_text(self, table: DelimitedTable, columns: list[int], row: int) -> UsageError:
        cell = table.read_cell(row, columns[0])
        what = f"{table.describe_cell(row, columns[0])} {numbers.explain_text(cell, self.cells.decimal)}"
        names = ",".join(_quote(table.names[index]) for index in columns)
        comma = "," in cell and self.cells.decimal == "."
        return UsageError(
            f"{what}; type 'dataset.ignore=[{names}]' to leave {'it' if len(columns) == 1 else 'such columns'} out, or "
            "dataset.one_hot=true to make a column of each value"
            + (", or dataset.decimal=',' if that is a decimal point" if comma else "")
        )

    def _check_thousands(self, table: DelimitedTable, column: int, values: list[str]) -> None:
        """Refuse a column whose texts would all be numbers but for a thousands separator: nobody names things so."""
        marks = {}  # of each text that is no number
        for value in values:
            if self.cells.parse(value) is None:
                mark = numbers.find_thousands(value, self.cells.decimal)
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
            f"{self.cells.decimal!r}); type \"dataset.thousands='{mark}'\" if it separates thousands"
            + (", or \"dataset.decimal=','\" if it is a decimal point" if mark == "," else "")
        )

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

    def _extract_features(self, table: DelimitedTable, indices: list[int]) -> Tensor:
        """Extract the features (rows, columns) float64 of a file, NaN for gaps."""
        if table.numeric == indices and all(feature.values is None for feature in self.features):
            return torch.from_numpy(table.matrix)  # as it was read: no second copy
        columns = []
        for feature, index in zip(self.features, indices, strict=True):
            if feature.values is not None:
                columns += self._encode_categories(table, feature, index)
            elif index in table.texts:  # no cell of it looked like a number at first
                columns.append(table.parse_text(index, self.missing_values)[0])
            else:
                columns.append(table.get_numbers(index))
        return torch.from_numpy(np.stack(columns, 1))

    def _encode_categories(self, table: DelimitedTable, feature: Feature, index: int) -> list[np.ndarray]:
        """Encode a column of text: a column (rows,) float64 for each category, or one for two; NaN for gaps."""
        assert feature.values is not None
        text = table.texts[index]
        gaps = text.is_gap(self.missing_values)
        place = {value: i for i, value in enumerate(feature.values)}
        codes = np.array([place.get(value, -1) for value in text.values], dtype=np.int64)[text.codes]
        unknown = (codes < 0) & ~gaps
        if unknown.any():
            row = int(unknown.argmax())
            value, seen = text.values[text.codes[row]], ", ".join(feature.values[:20])
            if self.unknown == "error" or not feature.one_hot:
                hint = "; type dataset.unknown=ignore to take such values for none of them" if feature.one_hot else ""
                raise UsageError(
                    f"{table.describe_cell(row, index)} holds {value!r}, which training did not see; needed: one of "
                    f"{seen}{hint}"
                )
            self.note(
                f"{table.path}: {int(unknown.sum())} of {table.rows} cells of column {feature.name!r} hold values that "
                f"training did not see, such as {value!r} ({seen}); all of their columns are 0"
            )
        values = [codes == i for i in range(len(feature.values))] if feature.one_hot else [codes == 1]
        return [np.where(gaps, np.nan, value.astype(np.float64)) for value in values]

    # -- rows --------------------------------------------------------------------------------------------------------

    def _make_split(self, table: DelimitedTable, indices: list[int], targets: list[int]) -> Split:
        table = self._drop_gaps(table, indices, targets)
        x = self._extract_features(table, indices)
        for place, name in enumerate(self.columns or []):
            if bool(x[:1, place].isnan().any()) and bool(x[:, place].isnan().all()):
                raise UsageError(
                    f"{table.path}: column {name!r} holds no values; type 'dataset.ignore=[{_quote(name)}]'"
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
            self._check_thousands(table, index, text.find_values(self.missing_targets))
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

    def _drop_gaps(
        self, table: DelimitedTable, indices: list[int], targets: list[int], is_new: bool = False
    ) -> DelimitedTable:
        """Drop rows with gaps, or refuse them, as always among new rows: each of these is to have its prediction.

        A row without a target is of no use even where gaps are filled.
        """
        gaps = {index: mask for index, mask in self._find_gaps(table, indices, targets) if mask.any()}
        total = sum(int(mask.sum()) for mask in gaps.values())
        among = ", ".join(table.names[index] for index in gaps)
        if self.missing == "mean" and set(gaps) - set(targets):
            filled = {index: mask for index, mask in gaps.items() if index not in targets}
            count = sum(int(mask.sum()) for mask in filled.values())
            self.note(
                f"{table.path}: {count} gaps in the columns {', '.join(table.names[i] for i in filled)} were filled "
                "with the mean of the training rows"
            )
            gaps = {index: mask for index, mask in gaps.items() if index in targets}
        if not gaps:
            return table
        if self.missing == "drop" and not is_new:
            dropped = np.logical_or.reduce(list(gaps.values()))
            if dropped.all():
                raise UsageError(f"{table.path} has a gap in every row; type dataset.missing=mean")
            kept = table.select_rows(~dropped)
            gone = self._find_lost_classes(table, kept, targets)
            classes = f"; {'class' if len(gone) == 1 else 'classes'} {', '.join(gone)} gone" if gone else ""
            self.note(f"{table.path}: {int(dropped.sum())} of {table.rows} rows dropped: gaps in {among}{classes}")
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
        others = [value for value in self.missing_values if value != cell]
        name = f', or "{_format_missing(others)}" to keep {cell!r} as a name' if cell else ""
        raise UsageError(
            f"{table.describe_cell(row, index)} {held}{more}; needed: a value; type {fix}"
            f"dataset.missing=drop to leave such rows out{name}"
        )

    def _find_gaps(self, table: DelimitedTable, indices: list[int], targets: list[int]) -> list[tuple[int, np.ndarray]]:
        """Find the gaps (rows,) in each column."""
        found = [(index, table.texts[index].is_gap(self.missing_targets)) for index in targets]
        has_gaps = table.has_numeric_gaps()
        for index in indices:
            if index in table.texts:
                found.append((index, table.texts[index].is_gap(self.missing_values)))
            elif has_gaps:
                found.append((index, np.isnan(table.get_numbers(index))))
        return found

    def _find_lost_classes(self, table: DelimitedTable, kept: DelimitedTable, targets: list[int]) -> list[str]:
        """Find the names of classes that no row is left of, those that stand for a gap among them."""
        if len(targets) != 1 or self.target_type == "numbers":
            return []
        before = table.texts[targets[0]].find_values([""])
        known = (value for value in before if value not in self.missing_targets)
        if len(before) > labels.MAX_NUMERIC_CLASSES and all(self.cells.parse(value) is not None for value in known):
            return []  # numbers
        return sorted(set(before) - set(kept.texts[targets[0]].find_values([""])))


def _format_missing(values: Sequence[str]) -> str:
    short = values if len(values) <= 3 else [value for value in values if value == ""]
    return numbers.format_missing(short)


def _quote(name: str) -> str:
    """Quote a name as Hydra's command line takes it within a list."""
    return name if name.replace("_", "").replace(" ", "").isalnum() else '"' + name.replace('"', '\\"') + '"'
