"""Files of labelled time series: the .ts format of the UEA archive, and the tables of the UCR archive.

A. Bagnall et al., "The UEA multivariate time series classification archive", 2018, https://arxiv.org/abs/1811.00075;
H. A. Dau et al., "The UCR time series archive", 2018, https://arxiv.org/abs/1810.07758. Every complaint names the file
and the line.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dlx.datasets.tables.delimited import read_text
from dlx.errors import UsageError

MISSING = frozenset({"", "?", "nan"})
HEADER_KEYS = (
    "@problemName, @timeStamps, @missing, @univariate, @dimensions, @equalLength, @seriesLength, @classLabel, "
)


class Series(NamedTuple):
    """What a file holds."""

    values: list[np.ndarray]  # (steps, channels) float64 each
    labels: list[str] | None  # what is said of each; None where nothing is
    names: list[str] | None = None  # of the classes, where a header lists them
    has_numeric_labels: bool = False  # whether a header says that the labels are numbers to predict


def read_series(path: Path, missing: Literal["error", "interpolate"] = "error", labelled: bool = True) -> Series:
    """Read the series of a .ts file, or of a table: a series a line, its label first.

    In a table, gaps at the end of a line only say that its series is shorter.

    Args:
        path: of the file.
        missing: what to do about gaps: complain, or draw a straight line from neighbour to neighbour (ends are held).
        labelled: whether the lines of a table begin with a label; a .ts file says so itself.

    Raises:
        UsageError: the file cannot be read, or a line of it is not what it should be.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path, "utf-8", "FILE.ts").splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{path} is empty; needed: time series, one a line")
    has_header = lines[0][1].startswith("@")
    content = _parse_ts(path, lines, missing) if has_header else _parse_table(path, lines, missing, labelled)
    if not content.values:
        raise UsageError(f"{path} holds no series; needed: one a line{' after @data' if has_header else ''}")
    channels = {len(series[0]): i for i, series in reversed(list(enumerate(content.values)))}
    if len(channels) > 1:
        (few, one), (many, other) = sorted(channels.items())[:2]
        raise UsageError(f"{path}: series {one} has {few} channels and series {other} {many} (counted from 0)")
    return content


class _Header(NamedTuple):
    has_labels: bool = False
    names: list[str] | None = None
    has_numeric_labels: bool = False
    channels: int | None = None


def _parse_ts(path: Path, lines: Sequence[tuple[int, str]], missing: str) -> Series:
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
        channels = [_parse_values(path, number, part.split(",")) for part in parts]
        if len({len(channel) for channel in channels}) > 1:
            sizes = ", ".join(str(len(channel)) for channel in channels)
            raise UsageError(f"{path}, line {number} has channels of {sizes} steps; needed: as many in each")
        values.append(_fill_gaps(path, number, np.stack(channels, 1), missing))
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


def _parse_table(path: Path, lines: Sequence[tuple[int, str]], missing: str, labelled: bool) -> Series:
    values, labels = [], []
    for number, line in lines:
        cells = line.split("\t" if "\t" in line else "," if "," in line else None)
        if labelled:
            labels.append(_normalize_label(cells.pop(0).strip()))
        while cells and cells[-1].strip().lower() in MISSING:
            cells.pop()
        if not cells:
            raise UsageError(f"{path}, line {number} has no values; needed: a label and then the values of a series")
        values.append(_fill_gaps(path, number, _parse_values(path, number, cells)[:, None], missing))
    return Series(values, labels if labelled else None)


def _normalize_label(label: str) -> str:
    """Write a whole number without its point: UCR's older files write 1.0000000e+00 for class 1."""
    try:
        return str(int(float(label))) if float(label).is_integer() else label
    except (ValueError, OverflowError):
        return label


def _parse_values(path: Path, line: int, cells: Sequence[str]) -> np.ndarray:
    """Parse values (steps,), NaN for gaps."""
    try:
        return np.array([_parse_value(cell) for cell in cells])
    except ValueError as error:
        step = next(i for i, cell in enumerate(cells) if repr(cell.strip()) in str(error))
        what = f"{path}, line {line}, step {step} (counted from 0)"
        raise UsageError(f"{what}: {cells[step].strip()!r} was given; needed: a number") from error


def _parse_value(cell: str) -> float:
    plain = cell.strip()
    return math.nan if plain in MISSING else float(plain)


def _fill_gaps(path: Path, line: int, values: np.ndarray, missing: str) -> np.ndarray:
    """Fill gaps in values (steps, channels), or refuse them."""
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if missing == "error":
        step, channel = np.argwhere(gaps)[0]
        raise UsageError(
            f"{path}, line {line}: channel {channel} has a gap at step {step} (both counted from 0); needed: a value; "
            "type dataset.missing=interpolate to draw lines across gaps"
        )
    steps = np.arange(len(values))
    for channel, gap in enumerate(gaps.T):
        if gap.all():
            raise UsageError(
                f"{path}, line {line}: channel {channel} (counted from 0) has no value at all; remove the line"
            )
        values[gap, channel] = np.interp(steps[gap], steps[~gap], values[~gap, channel])
    return values
