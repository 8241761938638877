"""The user's own time series, each with a class or a number to tell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.dataset import Part, Split, Stream
from dlx.datasets.sequences import series_files
from dlx.datasets.sequences.padding import pad
from dlx.datasets.sequences.series_files import Series
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
        missing: what to do about gaps ('?', NaN): `error`, or `interpolate` along a straight line within each channel.
        scale: `standard` gives each channel mean 0 and variance 1 over the training part's steps; `none` leaves it.
        shape, classes, outputs, seed, val, test, limit, scale_target: as in `Table`.
    """

    kind = "sequence"

    def __init__(
        self,
        path: str | None = None,
        test_path: str | None = None,
        target_type: Literal["auto", "classes", "numbers"] = "auto",
        missing: Literal["error", "interpolate"] = "error",
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
        self.target_type: Literal["auto", "classes", "numbers"] = target_type
        self.widths: set[int] = set()  # steps of the training file's series

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> Mapping[str, Part]:
        path = files.existing(self.path, "dataset.path", "FILE.ts")
        found = {"train": series_files.read(path, self.missing)}
        if self.test_path is not None:
            found["test"] = series_files.read(
                files.existing(self.test_path, "dataset.test_path", "FILE.ts"), self.missing
            )
        train = found["train"]
        channels = train.values[0].shape[1]
        self.names = None if self.target_type == "numbers" else train.names
        self.widths = {len(values) for values in train.values}
        longest = max(len(values) for part in found.values() for values in part.values)
        parts: dict[str, Part] = {}
        for name, part in found.items():
            what = str(self.path if name == "train" else self.test_path)
            if part.values[0].shape[1] != channels:
                raise UsageError(f"{what} has {part.values[0].shape[1]} channels; needed: {channels}, as in {path}")
            parts[name] = self._split(part, what, longest)
        return parts

    def _split(self, part: Series, what: str, longest: int) -> Split:
        x, lengths = _padded(part, longest)
        if part.labels is None:
            return Split(x, None, lengths)
        listed = part.names is not None and self.target_type != "numbers"  # a header's classes keep its order
        values = np.array(part.labels) if listed else _plain(part.labels)
        if self.target_type == "auto":
            whole = values.dtype.kind == "U" or bool((values == np.round(values)).all())
            self.target_type = "classes" if whole and not part.numbers else "numbers"
        y, self.names = labels.encode(values, f"{what}: its labels", self.target_type, self.names)
        return Split(x, y, lengths)

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if self.scale == "standard":
            self.shift, self.width = compute_mean_std(train.x[_real(train)])
        for name, part in self.splits.items():
            if isinstance(part, Split):  # padding is zero once it is scaled, for models that look at it
                x = torch.where(_real(part)[:, :, None], part.x, self.shift)
                self.splits[name] = Split(x, part.y, part.lengths)
        self.scale_targets(train)

    def inputs(self, path: Path) -> Split:
        """Series of another file. In a table labels may be there or, where all series are as long, may not."""
        found = series_files.read(path, self.missing)
        if {len(values) + 1 for values in found.values} == self.widths:
            found = series_files.read(path, self.missing, labelled=False)
        assert self.shape is not None
        x, lengths = _padded(found, self.shape[0])
        return Split(torch.where(_real(Split(x, lengths=lengths))[:, :, None], x, self.shift), lengths=lengths)


def _padded(part: Series, longest: int) -> tuple[Tensor, Tensor]:
    return pad([torch.from_numpy(values.astype(np.float32)) for values in part.values], longest)


def _plain(given: list[str]) -> np.ndarray:
    """Labels (examples,) as numbers if all of them are."""
    try:
        return np.array(given, dtype=np.float64)
    except ValueError:
        return np.array(given)


def _real(split: Split) -> Tensor:
    """Which steps are no padding, (examples, T)."""
    assert split.lengths is not None
    return torch.arange(split.x.shape[1]) < split.lengths[:, None]
