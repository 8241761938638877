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

from dlx.datasets.tables.delimited import decoded
from dlx.errors import UsageError

MISSING = frozenset({"", "?", "nan"})
KNOWN = "@problemName, @timeStamps, @missing, @univariate, @dimensions, @equalLength, @seriesLength, @classLabel, "


class Series(NamedTuple):
    """What a file holds."""

    values: list[np.ndarray]  # (steps, channels) float64 each
    labels: list[str] | None  # what is said of each; None where nothing is
    names: list[str] | None = None  # of the classes, where a header lists them
    numbers: bool = False  # whether a header says that the labels are numbers to predict


def read(path: Path, missing: Literal["error", "interpolate"] = "error", labelled: bool = True) -> Series:
    """The series of a .ts file, or of a table: a series a line, its label first.

    In a table, gaps at the end of a line only say that its series is shorter.

    Args:
        path: of the file.
        missing: what to do about gaps: complain, or draw a straight line from neighbour to neighbour (ends are held).
        labelled: whether the lines of a table begin with a label; a .ts file says so itself.

    Raises:
        UsageError: the file cannot be read, or a line of it is not what it should be.
    """
    lines = [(number, line.strip()) for number, line in enumerate(decoded(path, "utf-8", "FILE.ts").splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{path} is empty; needed: time series, one a line")
    has_header = lines[0][1].startswith("@")
    found = _ts(path, lines, missing) if has_header else _table(path, lines, missing, labelled)
    if not found.values:
        raise UsageError(f"{path} holds no series; needed: one a line{' after @data' if has_header else ''}")
    channels = {len(series[0]): i for i, series in reversed(list(enumerate(found.values)))}
    if len(channels) > 1:
        (few, one), (many, other) = sorted(channels.items())[:2]
        raise UsageError(f"{path}: series {one} has {few} channels and series {other} {many} (counted from 0)")
    return found


class _Header(NamedTuple):
    label: bool = False
    names: list[str] | None = None
    numbers: bool = False
    channels: int | None = None


def _ts(path: Path, lines: Sequence[tuple[int, str]], missing: str) -> Series:
    place = next((i for i, (_, line) in enumerate(lines) if line.lower() == "@data"), None)
    if place is None:
        raise UsageError(f"{path} has no @data; needed: it before the series, as in the UEA archive")
    header = _header(path, lines[:place])
    values, labels = [], []
    for number, line in lines[place + 1 :]:
        parts = line.split(":")
        if header.label:
            labels.append(parts.pop().strip())
        if not parts or (header.label and labels[-1] in ("", "?")):
            raise UsageError(f"{path}, line {number} has no label; needed: channel:channel:…:label")
        if header.label and header.names and labels[-1] not in header.names:
            hint = f"has the label {labels[-1]!r}; needed: one of {', '.join(header.names[:20])}"
            raise UsageError(f"{path}, line {number} {hint}, as @classLabel lists them")
        if header.channels not in (None, len(parts)):
            raise UsageError(f"{path}, line {number} has {len(parts)} channels; needed: {header.channels}, as declared")
        channels = [_numbers(path, number, part.split(",")) for part in parts]
        if len({len(channel) for channel in channels}) > 1:
            sizes = ", ".join(str(len(channel)) for channel in channels)
            raise UsageError(f"{path}, line {number} has channels of {sizes} steps; needed: as many in each")
        values.append(_filled(path, number, np.stack(channels, 1), missing))
    return Series(values, labels if header.label else None, header.names, header.numbers)


def _header(path: Path, lines: Sequence[tuple[int, str]]) -> _Header:
    header = _Header()
    for number, line in lines:
        key, *words = line.split()
        said = words[0].lower() if words else ""
        match key.lower():
            case "@timestamps" if said == "true":
                raise UsageError(
                    f"{path}, line {number}: series with time stamps; needed: @timeStamps false, values only"
                )
            case "@univariate" if said == "true":
                header = header._replace(channels=1)
            case "@dimensions" | "@dimension" if said.isdigit():
                header = header._replace(channels=int(said))
            case "@classlabel":
                header = header._replace(label=said == "true", names=words[1:] or None)
            case "@targetlabel":
                header = header._replace(label=said == "true", numbers=True)
            case "@timestamps" | "@univariate" | "@problemname" | "@missing" | "@equallength" | "@serieslength":
                pass
            case _ if not key.startswith("@"):
                raise UsageError(f"{path}, line {number} stands before @data; needed: {KNOWN}@targetLabel or @data")
            case _:
                raise UsageError(
                    f"{path}, line {number}: {line[:40]!r} was given; needed: {KNOWN}@targetLabel or @data"
                )
    return header


def _table(path: Path, lines: Sequence[tuple[int, str]], missing: str, labelled: bool) -> Series:
    values, labels = [], []
    for number, line in lines:
        cells = line.split("\t" if "\t" in line else "," if "," in line else None)
        if labelled:
            labels.append(_plain(cells.pop(0).strip()))
        while cells and cells[-1].strip().lower() in MISSING:
            cells.pop()
        if not cells:
            raise UsageError(f"{path}, line {number} has no values; needed: a label and then the values of a series")
        values.append(_filled(path, number, _numbers(path, number, cells)[:, None], missing))
    return Series(values, labels if labelled else None)


def _plain(label: str) -> str:
    """A whole number without its point: UCR's older files write 1.0000000e+00 for class 1."""
    try:
        return str(int(float(label))) if float(label).is_integer() else label
    except (ValueError, OverflowError):
        return label


def _numbers(path: Path, line: int, cells: Sequence[str]) -> np.ndarray:
    """Values (steps,), NaN for gaps."""
    try:
        return np.array([_number(cell) for cell in cells])
    except ValueError as error:
        step = next(i for i, cell in enumerate(cells) if repr(cell.strip()) in str(error))
        what = f"{path}, line {line}, step {step} (counted from 0)"
        raise UsageError(f"{what}: {cells[step].strip()!r} was given; needed: a number") from error


def _number(cell: str) -> float:
    plain = cell.strip()
    return math.nan if plain in MISSING else float(plain)


def _filled(path: Path, line: int, values: np.ndarray, missing: str) -> np.ndarray:
    """Values (steps, channels) without gaps."""
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
