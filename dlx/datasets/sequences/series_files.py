"""Files of labelled time series: the .ts format of the UEA archive, and the tables of the UCR archive.

A. Bagnall et al., "The UEA multivariate time series classification archive", 2018, https://arxiv.org/abs/1811.00075;
H. A. Dau et al., "The UCR time series archive", 2018, https://arxiv.org/abs/1810.07758. Every complaint names the file
and the line.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dlx.datasets.tables.delimited import read_text
from dlx.datasets.tables.numbers import is_infinite, parse_cells, parse_whole
from dlx.errors import UsageError

MISSING = ("", "?", "NaN", "nan", "NAN")
HEADER_KEYS = (
    "@problemName, @timeStamps, @missing, @univariate, @dimensions, @equalLength, @seriesLength, @classLabel, "
)


class Series(NamedTuple):
    """What a file holds."""

    values: list[np.ndarray]  # (steps, channels) float64 each
    labels: list[str] | None  # what is said of each; None where nothing is
    names: list[str] | None = None  # of the classes, where a header lists them
    has_numeric_labels: bool = False  # whether a header says that the labels are numbers to predict
    notes: Sequence[str] = ()  # what was cast or filled


def read_series(
    path: Path,
    missing: Literal["error", "interpolate"] = "error",
    missing_values: Sequence[str] = MISSING,
    labelled: bool = True,
) -> Series:
    """Read the series of a .ts file, or of a table: a series a line, its label first.

    In a table, gaps at the end of a line only say that its series is shorter.

    Args:
        path: of the file.
        missing: what to do about gaps: complain, or draw a straight line from neighbour to neighbour (ends are held).
        missing_values: what stands for a gap.
        labelled: whether the lines of a table begin with a label; a .ts file says so itself.

    Raises:
        UsageError: the file cannot be read, or a line of it is not what it should be.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path, "utf-8", "FILE.ts").splitlines(), 1)]
    comments = sum(line.startswith("#") for _, line in lines)
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{path} is empty; needed: time series, one a line")
    has_header = lines[0][1].startswith("@")
    gaps = _Gaps(path, missing, missing_values)
    content = _parse_ts(path, lines, gaps) if has_header else _parse_table(path, lines, gaps, labelled)
    if not content.values:
        raise UsageError(f"{path} holds no series; needed: one a line{' after @data' if has_header else ''}")
    channels = {len(series[0]): i for i, series in reversed(list(enumerate(content.values)))}
    if len(channels) > 1:
        (few, one), (many, other) = sorted(channels.items())[:2]
        raise UsageError(f"{path}: series {one} has {few} channels and series {other} {many} (counted from 0)")
    passed = [f"{path}: {comments} lines that begin with # passed over"] if comments else []
    return content._replace(notes=[*passed, *content.notes, *gaps.describe_filled()])


class _Gaps:
    """What to do about gaps, and how many there were."""

    def __init__(self, path: Path, missing: str, missing_values: Sequence[str]) -> None:
        self.path, self.missing, self.missing_values = path, missing, missing_values
        self.filled = self.lines = self.cut = 0

    def fill(self, line: int, values: np.ndarray) -> np.ndarray:
        """Fill gaps in values (steps, channels), or refuse them."""
        gaps = np.isnan(values)
        if not gaps.any():
            return values
        if self.missing == "error":
            step, channel = np.argwhere(gaps)[0]
            raise UsageError(
                f"{self.path}, line {line}: channel {channel} has a gap at step {step} (both counted from 0); needed: "
                "a value; type dataset.missing=interpolate to draw lines across gaps"
            )
        steps = np.arange(len(values))
        for channel, gap in enumerate(gaps.T):
            if gap.all():
                raise UsageError(
                    f"{self.path}, line {line}: channel {channel} (counted from 0) has no value at all; remove the line"
                )
            values[gap, channel] = np.interp(steps[gap], steps[~gap], values[~gap, channel])
        self.filled, self.lines = self.filled + int(gaps.sum()), self.lines + 1
        return values

    def describe_filled(self) -> list[str]:
        """Say for a note what was filled."""
        texts = []
        if self.filled:
            texts.append(f"{self.path}: {self.filled} gaps in {self.lines} series were filled along straight lines")
        if self.cut:
            texts.append(f"{self.path}: {self.cut} series end in gaps, which were taken for the end of a shorter one")
        return texts


class _Header(NamedTuple):
    has_labels: bool = False
    names: list[str] | None = None
    has_numeric_labels: bool = False
    channels: int | None = None


def _parse_ts(path: Path, lines: Sequence[tuple[int, str]], gaps: _Gaps) -> Series:
    place = next((i for i, (_, line) in enumerate(lines) if line.lower() == "@data"), None)
    if place is None:
        raise UsageError(f"{path} has no @data; needed: it before the series, as in the UEA archive")
    header = _parse_header(path, lines[:place])
    values, labels = [], []
    for number, line in lines[place + 1 :]:
        parts = line.split(":")
        if header.has_labels:
            labels.append(parts.pop().strip())
        if not parts or (header.has_labels and labels[-1] in ("", "?")):
            raise UsageError(f"{path}, line {number} has no label; needed: channel:channel:…:label")
        if header.has_labels and header.names and labels[-1] not in header.names:
            hint = f"has the label {labels[-1]!r}; needed: one of {', '.join(header.names[:20])}"
            raise UsageError(f"{path}, line {number} {hint}, as @classLabel lists them")
        if header.channels not in (None, len(parts)):
            raise UsageError(f"{path}, line {number} has {len(parts)} channels; needed: {header.channels}, as declared")
        channels = [_parse_values(path, number, part.split(","), gaps.missing_values) for part in parts]
        if len({len(channel) for channel in channels}) > 1:
            sizes = ", ".join(str(len(channel)) for channel in channels)
            raise UsageError(f"{path}, line {number} has channels of {sizes} steps; needed: as many in each")
        values.append(gaps.fill(number, np.stack(channels, 1)))
    return Series(values, labels if header.has_labels else None, header.names, header.has_numeric_labels)


def _parse_header(path: Path, lines: Sequence[tuple[int, str]]) -> _Header:
    header = _Header()
    for number, line in lines:
        key, *words = line.split()
        value = words[0].lower() if words else ""
        match key.lower():
            case "@timestamps" if value == "true":
                raise UsageError(
                    f"{path}, line {number}: series with time stamps; needed: @timeStamps false, values only"
                )
            case "@univariate" if value == "true":
                header = header._replace(channels=1)
            case "@dimensions" | "@dimension" if value.isdigit():
                header = header._replace(channels=int(value))
            case "@classlabel":
                header = header._replace(has_labels=value == "true", names=words[1:] or None)
            case "@targetlabel":
                header = header._replace(has_labels=value == "true", has_numeric_labels=True)
            case "@timestamps" | "@univariate" | "@problemname" | "@missing" | "@equallength" | "@serieslength":
                pass
            case _ if not key.startswith("@"):
                raise UsageError(
                    f"{path}, line {number} stands before @data; needed: {HEADER_KEYS}@targetLabel or @data"
                )
            case _:
                raise UsageError(
                    f"{path}, line {number}: {line[:40]!r} was given; needed: {HEADER_KEYS}@targetLabel or @data"
                )
    return header


def _parse_table(path: Path, lines: Sequence[tuple[int, str]], gaps: _Gaps, labelled: bool) -> Series:
    values, labels = [], []
    for number, line in lines:
        cells = line.split("\t" if "\t" in line else "," if "," in line else None)
        if labelled:
            labels.append(cells.pop(0).strip())
        width = len(cells)
        while cells and cells[-1].strip() in gaps.missing_values:
            cells.pop()
        gaps.cut += len(cells) < width
        if not cells:
            raise UsageError(f"{path}, line {number} has no values; needed: a label and then the values of a series")
        values.append(gaps.fill(number, _parse_values(path, number, cells, gaps.missing_values)[:, None]))
    if not labelled:
        return Series(values, None)
    plain = [_normalize_label(label) for label in labels]
    return Series(values, plain, notes=_describe_merged(path, labels, plain))


def _normalize_label(label: str) -> str:
    """Write a whole number without its point: UCR's older files write 1.0000000e+00 for class 1."""
    whole = parse_whole(label)
    return label if whole is None else str(whole)


def _describe_merged(path: Path, labels: Sequence[str], plain: Sequence[str]) -> list[str]:
    """Say for a note which labels are one class, written in two ways."""
    ways: dict[str, set[str]] = {}
    for label, name in zip(labels, plain, strict=True):
        ways.setdefault(name, set()).add(label)
    return [
        f"{path}: the labels {' and '.join(sorted(written))} are one class, {name}"
        for name, written in ways.items()
        if len(written) > 1
    ]


def _parse_values(path: Path, line: int, cells: Sequence[str], missing: Sequence[str]) -> np.ndarray:
    """Parse values (steps,), NaN for gaps."""
    import pyarrow as pa

    plain = [cell.strip() for cell in cells]
    values, step = parse_cells(pa.array(plain, pa.string()), pa.array(list(missing), pa.string()))
    if step is not None:
        if is_infinite(plain[step]):
            raise UsageError(f"{path}, line {line}: its values hold {plain[step]} at step {step} (counted from 0)")
        what = f"{path}, line {line}, step {step} (counted from 0)"
        raise UsageError(f"{what}: {plain[step]!r} was given; needed: a number")
    return values.copy()
