"""The user's own time series, each with a class or a number to tell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.sequences import series_files
from dlx.datasets.sequences.padding import pad_sequences
from dlx.datasets.sequences.series_files import Series
from dlx.datasets.splits import Part, Split, Stream
from dlx.datasets.tables.numbers import parse_number, to_cell
from dlx.datasets.tables.table import Table, compute_mean_std
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class TimeSeries(Table):
    """Series (T, channels) of a .ts file (UEA) or a table with the label first (UCR), padded where they end earlier.

    Args:
        path: of the file, such as NAME_TRAIN.ts or NAME_TRAIN.tsv.
        test_path: a file with the test series; null takes `test` of the series of `path`.
        target_type: `classes`, `numbers`, or `auto`: what a .ts file's header says; in tables, labels that are all
            numbers and not all whole are numbers.
        missing: what to do about gaps: `error`, or `interpolate` along a straight line within each channel.
        missing_values: what stands for a gap; null for nothing at all, ? and NaN.
        scale: `standard` gives each channel mean 0 and variance 1 over the training part's steps; `none` leaves it.
        shape, classes, outputs, seed, val, test, limit, scale_target: as in `Table`.
    """

    kind = "sequence"
    fitted = ("target_type", "series_lengths")

    def __init__(
        self,
        path: str | None = None,
        test_path: str | None = None,
        target_type: Literal["auto", "classes", "numbers"] = "auto",
        missing: Literal["error", "interpolate"] = "error",
        missing_values: Sequence[str | float | None] | None = None,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "standard"] = "standard",
        scale_target: Literal["none", "standard"] = "standard",
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit, scale, scale_target)
        self.path, self.test_path, self.missing = path, test_path, missing
        self.missing_values = (
            list(series_files.MISSING) if missing_values is None else list(map(to_cell, missing_values))
        )
        self.target_type: Literal["auto", "classes", "numbers"] = target_type
        self.series_lengths: list[int] = []  # different numbers of steps of the training file's series

    @property
    def source(self) -> str:
        return str(self.path)

    @property
    def padding(self) -> Tensor:
        return self.shift  # zero once it is scaled

    def read(self) -> Mapping[str, Part]:
        path = files.require_path(self.path, "dataset.path", "FILE.ts")
        by_split = {"train": series_files.read_series(path, self.missing, self.missing_values)}
        if self.test_path is not None:
            by_split["test"] = series_files.read_series(
                files.require_path(self.test_path, "dataset.test_path", "FILE.ts"), self.missing, self.missing_values
            )
        train = by_split["train"]
        channels = train.values[0].shape[1]
        longest = max(len(values) for part in by_split.values() for values in part.values)
        if self.is_fitted and self.shape is not None:
            longest = max(longest, self.shape[0])
        else:
            self.names = None if self.target_type == "numbers" else train.names
            self.series_lengths = sorted({len(values) for values in train.values})
        parts: dict[str, Part] = {}
        for name, part in by_split.items():
            what = str(self.path if name == "train" else self.test_path)
            if part.values[0].shape[1] != channels:
                raise UsageError(f"{what} has {part.values[0].shape[1]} channels; needed: {channels}, as in {path}")
            parts[name] = self._make_split(part, what, longest)
        return parts

    def _make_split(self, part: Series, what: str, longest: int) -> Split:
        for note in part.notes:
            self.note(note)
        x, lengths = _pad_series(part, longest)
        if part.labels is None:
            return Split(x, None, lengths)
        texts, numbers = np.array(part.labels), _parse_labels(part.labels)
        if self.target_type == "auto":
            whole = numbers is None or bool((numbers == np.round(numbers)).all())
            listed = part.names is not None  # a header's classes keep its order
            self.target_type = "classes" if (whole or listed) and not part.has_numeric_labels else "numbers"
            if numbers is not None and not listed and not part.has_numeric_labels:
                taken, other = ("classes", "numbers") if whole else ("numbers", "classes")
                self.note(f"{what}: labels that are numbers, taken for {taken}; dataset.target_type={other} if not")
        values = texts if numbers is None or self.target_type == "classes" else numbers
        y, self.names, _ = labels.encode_targets(values, f"{what}: its labels", self.target_type, self.names)
        return Split(x, y, lengths)

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if self.scale == "standard" and not self.is_fitted:
            self.shift, self.width = compute_mean_std(train.x[_make_step_mask(train)])
        for name, part in self.splits.items():
            if isinstance(part, Split):  # padding is zero once it is scaled, for models that look at it
                x = torch.where(_make_step_mask(part)[:, :, None], part.x, self.padding)
                self.splits[name] = Split(x, part.y, part.lengths)
        self.scale_targets(train)

    def inputs(self, path: Path) -> Split:
        """Read series from another file. In a table labels may be there or, where all series are as long, may not."""
        series = series_files.read_series(path, self.missing, self.missing_values)
        if sorted({len(values) + 1 for values in series.values}) == self.series_lengths:
            series = series_files.read_series(path, self.missing, self.missing_values, labelled=False)
            self.note(f"{path}: as long as the training series without a label, so that no label was looked for")
        elif series.labels is not None:
            self.note(f"{path}: its labels were passed over")
        for note in series.notes:
            self.note(note)
        assert self.shape is not None
        x, lengths = _pad_series(series, self.shape[0])
        return Split(
            torch.where(_make_step_mask(Split(x, lengths=lengths))[:, :, None], x, self.padding), lengths=lengths
        )


def _pad_series(part: Series, longest: int) -> tuple[Tensor, Tensor]:
    return pad_sequences([torch.from_numpy(values) for values in part.values], longest)


def _parse_labels(labels: list[str]) -> np.ndarray | None:
    """Parse labels (examples,) as numbers; None if some are text."""
    values = [parse_number(label) for label in labels]
    return None if None in values else np.array(values, dtype=np.float64)


def _make_step_mask(split: Split) -> Tensor:
    """Return which steps are no padding, (examples, T)."""
    assert split.lengths is not None
    return torch.arange(split.x.shape[1]) < split.lengths[:, None]
