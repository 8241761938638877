"""What a number is: one strict grammar for every reader of text, for a cell and for a column at once.

`[+-]?(0|[1-9]\\d*)?(\\.\\d*)?([eE][+-]?\\d+)?` with a digit in the mantissa, and no integer beyond 2^53. So 01234,
1_10, inf and true are text: as numbers they would be told apart no longer from 1234, 110 and 1.
"""

import re
from collections.abc import Collection
from typing import Any

import numpy as np

MAX_INTEGER = 2**53  # beyond, float64 no longer tells neighbours apart
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
ZERO, POINT = b"0."


def parse_number(cell: str, decimal: str = ".", thousands: str | None = None) -> float | None:
    """Parse a cell without white space around it; None where it is text by the grammar, or not finite."""
    if thousands and thousands in cell:
        if not _compile_thousands(thousands, decimal).fullmatch(cell):
            return None
        cell = cell.replace(thousands, "")
    if decimal != ".":
        if "." in cell:
            return None
        cell = cell.replace(decimal, ".")
    if not _NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    if abs(value) == float("inf") or (abs(value) >= MAX_INTEGER and _INTEGER.fullmatch(cell) and not _is_exact(cell)):
        return None
    return value


def parse_whole(cell: str) -> int | None:
    """Parse a cell that is a whole number, however it is written (2, 2.0, 2e0); None where it is not."""
    value = parse_number(cell)
    return int(value) if value is not None and value.is_integer() and abs(value) <= MAX_INTEGER else None


def is_infinite(cell: str) -> bool:
    """Return whether a cell says that it is infinite, or is a number too large for float64."""
    return bool(_INFINITE.fullmatch(cell) or (_NUMBER.fullmatch(cell) and abs(float(cell)) == float("inf")))


def explain_text(cell: str, decimal: str = ".") -> str:
    """Say for a message what a cell holds that is no number, and what is needed."""
    if is_infinite(cell.replace(decimal, ".")):
        return f"holds {cell}; needed: a finite number"
    if _INTEGER.fullmatch(cell) and cell.lstrip("+-").lstrip("0") != cell.lstrip("+-"):
        return f"holds text ({cell!r}): a number does not begin with 0; needed: numbers"
    if _INTEGER.fullmatch(cell):
        return f"holds text ({cell!r}): whole numbers beyond 2^53 are not told apart as numbers; needed: numbers"
    return f"holds text ({cell!r}); needed: numbers"


def find_thousands(cell: str, decimal: str = ".") -> str | None:
    """Return the thousands separator of a cell that would be a number with it, such as 1,234 or 1.234,5."""
    marks = (mark for mark in ",.' \u00a0\u202f" if mark != decimal and mark in cell)
    return next((mark for mark in marks if _compile_thousands(mark, decimal).fullmatch(cell)), None)


def parse_cells(
    cells: Any, missing: Any, decimal: str = ".", thousands: str | None = None
) -> tuple[np.ndarray, int | None]:
    """Parse a column's cells, all at once.

    Args:
        cells: (rows,) pyarrow strings without nulls and without white space around them.
        missing: pyarrow strings that stand for gaps.
        decimal: the decimal point.
        thousands: what may separate thousands; None for nothing.

    Returns:
        The values (rows,) float64, NaN for gaps, and None; or, where a cell is text, anything and its row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if decimal != "." or thousands:
        return _parse_punctuated(cells, missing, decimal, thousands)
    gaps = None
    try:  # Arrow's own parser is fast and rounds correctly; where it is too lenient is looked at after
        values = pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        gaps = pc.is_in(cells, value_set=missing)
        try:
            values = pc.cast(pc.if_else(gaps, None, cells), pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            return np.empty(0), _find_text(cells, gaps)
        gaps = gaps.to_numpy(zero_copy_only=False)
    suspicious = _find_leading_zeros(cells, gaps is not None)
    if len(values) and not (values.min() > -MAX_INTEGER and values.max() < MAX_INTEGER):  # or there is a NaN
        if gaps is None:  # "nan" is a number to Arrow, and a gap or text to us
            gaps = pc.is_in(cells, value_set=missing).to_numpy(zero_copy_only=False)
            values = np.where(gaps, np.nan, values)
        large = np.flatnonzero(~(np.abs(values) < MAX_INTEGER))
        suspicious = large if suspicious is None else np.union1d(suspicious, large)
    if suspicious is not None:
        for row in suspicious.tolist():
            if not (gaps is not None and gaps[row]) and parse_number(cells[row].as_py()) is None:
                return values, row
    return values, None


def _find_text(cells: Any, gaps: Any) -> int:
    """Find the first cell that is neither a gap nor a number, knowing that there is one."""
    import pyarrow.compute as pc

    fits = pc.or_(gaps, pc.match_substring_regex(cells, f"^(?:{_NUMBER.pattern})$"))
    for row in np.flatnonzero(~fits.to_numpy(zero_copy_only=False)).tolist():
        return int(row)
    raise AssertionError("Arrow refuses a cell that the grammar takes")


def _find_leading_zeros(cells: Any, has_gaps: bool) -> np.ndarray | None:
    """Find the cells (n,) of numbers whose digits begin with a zero and go on, such as 007; None where there are none.

    What stands for gaps may be found with them.
    """
    offsets, data = _get_buffers(cells)
    starts, ends = offsets[:-1].astype(np.intp), offsets[1:]
    if has_gaps:  # of any length and content
        starts = np.minimum(starts, max(len(data) - 1, 0))
    if not len(data) or not len(starts):
        return None
    digits = starts + (data.take(starts) < POINT)  # of the characters of a number, only the signs are below the point
    if has_gaps:
        digits = np.minimum(digits, len(data) - 1)
    rows = np.flatnonzero(data.take(digits) == ZERO)
    rows = rows[digits[rows] + 1 < ends[rows]]
    rows = rows[data[digits[rows] + 1] - np.uint8(ZERO) <= 9]  # what is below "0" wraps around to 246 and more
    return rows if len(rows) else None


def get_offsets(cells: Any) -> np.ndarray:
    """Return where each of some pyarrow strings begins in their bytes, and the last one ends, (rows + 1,)."""
    return _get_buffers(cells)[0]


def trim(cells: Any) -> Any:
    """Leave out white space around cells (rows,) of pyarrow strings."""
    import pyarrow.compute as pc

    _, data = _get_buffers(cells)
    return pc.utf8_trim_whitespace(cells) if ((data <= 32) | (data >= 128)).any() else cells


def _get_buffers(cells: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of some strings begins, (rows + 1,), and the bytes (of all)."""
    _, offsets, data = cells.buffers()
    width = np.int64 if str(cells.type).startswith("large") else np.int32
    starts = np.frombuffer(offsets, width)[cells.offset : cells.offset + len(cells) + 1]
    return starts, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def _parse_punctuated(cells: Any, missing: Any, decimal: str, thousands: str | None) -> tuple[np.ndarray, int | None]:
    """Parse cells with a decimal comma or thousands separators: rewritten where they follow its grammar."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fits = pc.match_substring_regex(cells, "^(?:" + _NUMBER.pattern.replace(r"\.", re.escape(decimal)) + ")$")
    if thousands:
        fits = pc.or_(fits, pc.match_substring_regex(cells, f"^(?:{_compile_thousands(thousands, decimal).pattern})$"))
    wrong = pc.and_(pc.invert(fits), pc.invert(pc.is_in(cells, value_set=missing))).to_numpy(zero_copy_only=False)
    if wrong.any():
        return np.empty(0), int(np.flatnonzero(wrong)[0])
    plain = pc.replace_substring(cells, thousands, "") if thousands else cells
    plain = pc.replace_substring(plain, decimal, ".") if decimal != "." else plain
    return parse_cells(pc.if_else(fits, plain, ""), pa.array([""]))


def _compile_thousands(mark: str, decimal: str) -> re.Pattern[str]:
    """Compile what a number with this thousands separator looks like; Arrow's expressions take it too."""
    return re.compile(
        rf"[+-]?[1-9][0-9]{{0,2}}(?:{re.escape(mark)}[0-9]{{3}})+(?:{re.escape(decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?"
    )


def _is_exact(cell: str) -> bool:
    return abs(int(cell)) <= MAX_INTEGER


def format_missing(values: Collection[str]) -> str:
    """Write what stands for gaps as an override of the command line."""
    return "dataset.missing_values=[" + ",".join("'" + value.replace("'", "\\'") + "'" for value in values) + "]"


def to_cell(value: str | float | bool | None) -> str:
    """Write a value of a configuration as the cell that was meant: YAML takes null, NaN and -999 for its own."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
