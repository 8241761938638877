"""The user's own table: a CSV file, or any delimited text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.dataset import Split, Stream
from dlx.datasets.tables import delimited
from dlx.datasets.tables.delimited import MISSING, Sheet
from dlx.datasets.tables.table import Table
from dlx.errors import UsageError
from dlx.types import Count, Fraction

GAPS = MISSING - {"none", "-"}  # of a target: "none" is a good name for a class
MOST = 100  # different texts of one column that still get a column each


class Feature(NamedTuple):
    """A column that a model sees."""

    name: str
    place: int  # in the training file
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
        several = [target] if isinstance(target, str | int) else list(target or ())
        self.targets: list[str | int] = several
        self.target: str | None = None  # its name
        self.target_type: Literal["auto", "classes", "numbers"] = target_type
        self.chosen, self.ignore, self.one_hot, self.missing = columns, list(ignore), one_hot, missing
        self.header, self.delimiter, self.decimal, self.encoding = header, delimiter, decimal, encoding
        self.features: list[Feature] = []
        self.named, self.header_names, self.target_places = False, list[str](), list[int]()  # of the training file
        self.fill = torch.zeros(())  # (features,) what stands for a gap

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> dict[str, Split | Stream]:
        found = self._sheet(files.existing(self.path, "dataset.path", "FILE.csv"))
        self.named, self.header_names = found.named, found.names
        targets = self.target_places = [found.place(column, "dataset.target") for column in self.targets]
        self.target = found.names[targets[0]] if targets else None
        self.features = self._features(found, targets)
        self.columns = [name for feature in self.features for name in _named(feature)]
        parts: dict[str, Split | Stream] = {"train": self._split(found, targets)}
        if self.test_path is not None:
            other = self._sheet(files.existing(self.test_path, "dataset.test_path", "FILE.csv"))
            if other.named and found.named:
                targets = [other.place(found.names[i], "dataset.target") for i in targets]
            elif len(other.names) != len(self.header_names):
                raise UsageError(
                    f"{other.path} has {len(other.names)} columns; needed: {len(self.header_names)}, as in {self.path}"
                )
            parts["test"] = self._split(other, targets)
        return parts

    def check_finite(self, values: Tensor, what: str) -> None:
        # Gaps that were asked to be filled are filled by `prepare`, from the training split alone.
        super().check_finite(values.nan_to_num(0) if self.missing == "mean" else values, what)

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        self.fill = train.x.nanmean(0).nan_to_num(0)
        if self.missing == "mean":
            for name, part in self.splits.items():
                assert isinstance(part, Split)
                self.splits[name] = Split(torch.where(part.x.isnan(), self.fill, part.x), part.y)
            train = Split(torch.where(train.x.isnan(), self.fill, train.x), train.y)
        super().prepare(train)

    def inputs(self, path: Path) -> Split:
        """Raw features (n, features) of another file; a target in it is passed over."""
        # One row may look like a header, or a header like a row: the training file's names tell.
        given = delimited.read(path, self.delimiter, False, self.encoding)
        if not self.named or set(given.rows[0]) & set(self.header_names):
            given = self._sheet(path)
        x = self._values(given)
        return Split(torch.where(x.isnan(), self.fill, x) if self.missing == "mean" else x)

    # -- columns -----------------------------------------------------------------------------------------------------

    def _sheet(self, path: Path) -> Sheet:
        return delimited.read(path, self.delimiter, self.header, self.encoding)

    def _features(self, found: Sheet, targets: list[int]) -> list[Feature]:
        if self.chosen is None:
            places = [i for i in range(len(found.names)) if i not in targets]
        else:
            places = [found.place(column, "dataset.columns") for column in self.chosen]
        left_out = {found.place(column, "dataset.ignore") for column in self.ignore}
        places = [i for i in places if i not in left_out]
        if set(places) & set(targets):
            raise UsageError(f"{found.path}: the target {self.target!r} is among dataset.columns; leave it out there")
        if not places:
            raise UsageError(f"{found.path} has no column besides the target; needed: at least one feature")
        features, text = [], []
        for place in places:
            _, row = found.numbers(place, self.decimal)
            if row is None:
                features.append(Feature(found.names[place], place))
            elif self.one_hot:
                values = sorted({cells[place] for cells in found.rows if cells[place].lower() not in MISSING})
                if len(values) > MOST:
                    raise UsageError(
                        f"{found.path}: column {found.names[place]!r} holds {len(values)} different texts; needed: "
                        f"at most {MOST} for dataset.one_hot; type 'dataset.ignore=[{_quoted(found.names[place])}]'"
                    )
                features.append(Feature(found.names[place], place, values))
            else:
                text.append((place, row))
        if text:
            place, row = text[0]
            names = ",".join(_quoted(found.names[place]) for place, _ in text)
            comma = "," in found.rows[row][place] and self.decimal == "."
            raise UsageError(
                f"{found.where(row, place)} holds text ({found.rows[row][place]!r}); needed: numbers; type "
                f"'dataset.ignore=[{names}]' to leave {'it' if len(text) == 1 else 'such columns'} out, or "
                "dataset.one_hot=true to make a column of each value"
                + (", or dataset.decimal=',' if that is a decimal point" if comma else "")
            )
        return features

    def _places(self, found: Sheet) -> list[int]:
        """Where a file has the features: by name, or by place if it or the training file has no names."""
        if found.named and self.named:
            return [found.place(feature.name, f"{self.path}: column") for feature in self.features]
        places = [feature.place for feature in self.features]
        if len(found.names) == len(self.header_names):
            return places
        if len(found.names) == len(self.header_names) - len(
            self.target_places
        ):  # rows to predict, which have no target
            return [place - sum(target < place for target in self.target_places) for place in places]
        raise UsageError(
            f"{found.path} has {len(found.names)} columns; needed: {len(self.header_names)}, as in {self.path}"
        )

    def _values(self, found: Sheet) -> Tensor:
        """Features (rows, columns) of a file, NaN for gaps."""
        columns = []
        for feature, place in zip(self.features, self._places(found), strict=True):
            if feature.values is not None:
                cells = np.array([row[place] for row in found.rows])
                columns += [(cells == value).astype(np.float64) for value in feature.values]
                continue
            numbers, text = found.numbers(place, self.decimal)
            if text is not None:
                raise UsageError(
                    f"{found.where(text, place)} holds text ({found.rows[text][place]!r}); needed: a number"
                )
            infinite = np.flatnonzero(np.isinf(numbers))
            if len(infinite):
                row = int(infinite[0])
                raise UsageError(f"{found.where(row, place)} holds {found.rows[row][place]}; needed: a finite number")
            columns.append(numbers)
        return torch.from_numpy(np.stack(columns, 1)).float()

    def _split(self, found: Sheet, targets: list[int]) -> Split:
        found = self._without_gaps(found, targets)
        x = self._values(found)
        empty = x.isnan().all(0)
        if empty.any():
            name = (self.columns or [])[int(empty.nonzero()[0])]
            raise UsageError(f"{found.path}: column {name!r} holds no values; type 'dataset.ignore=[{_quoted(name)}]'")
        if not targets:
            return Split(x)
        columns = [found.numbers(place, self.decimal) for place in targets]
        text = any(row is not None for _, row in columns)
        if text and len(targets) > 1:
            raise UsageError(f"{found.path}: several targets were given and one holds text; needed: numbers")
        values = np.array([row[targets[0]] for row in found.rows]) if text else np.stack([v for v, _ in columns], 1)
        what = f"{found.path}, column {found.names[targets[0]]!r}"
        if not text and len(targets) == 1:
            values = values[:, 0]
        y, self.names = labels.encode(values, what, self.target_type, self.names)
        self.target_type = "classes" if self.names else "numbers"  # the test file follows the training file
        return Split(x, y)

    def _without_gaps(self, found: Sheet, targets: list[int]) -> Sheet:
        """The rows that stay. A row without a target is of no use even where gaps are filled."""
        places = [] if self.missing == "mean" else self._places(found)
        gap = {
            place: np.array([row[place].lower() in (GAPS if place in targets else MISSING) for row in found.rows])
            for place in [*targets, *places]
        }
        gaps = {place: mask for place, mask in gap.items() if mask.any()}
        if not gaps:
            return found
        if self.missing == "drop":
            kept = found.keep(~np.logical_or.reduce(list(gaps.values())))
            if not kept.rows:
                raise UsageError(f"{found.path} has a gap in every row; type dataset.missing=mean")
            return kept
        place, mask = next(iter(gaps.items()))
        total = sum(int(mask.sum()) for mask in gaps.values())
        more = f" ({total} gaps in the columns {', '.join(found.names[p] for p in gaps)})" if total > 1 else ""
        fix = "" if place in targets else "dataset.missing=mean to fill gaps with the mean of the training rows, or "
        raise UsageError(
            f"{found.where(int(np.flatnonzero(mask)[0]), place)} is empty{more}; needed: a value; type {fix}"
            "dataset.missing=drop to leave such rows out"
        )


def _named(feature: Feature) -> list[str]:
    return [feature.name] if feature.values is None else [f"{feature.name}={value}" for value in feature.values]


def _quoted(name: str) -> str:
    """A name as Hydra's command line takes it within a list."""
    return name if name.replace("_", "").replace(" ", "").isalnum() else '"' + name.replace('"', '\\"') + '"'
