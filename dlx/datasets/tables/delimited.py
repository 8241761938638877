"""A delimited text file as rows of text. Every complaint names the file, the line and the column."""

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dlx.errors import UsageError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})


class DelimitedTable(NamedTuple):
    """Rows of one width."""

    path: Path
    names: list[str]  # of the columns: the header's, or 0, 1, 2, …
    has_header: bool  # whether there is a header
    rows: list[list[str]]
    line_numbers: list[int]  # where each row stands in the file, counted from 1

    def find_column(self, column: str | int, option: str) -> int:
        """Return the index of a column given by its name, or by its place (from the end if negative).

        Raises:
            UsageError: there is no such column.
        """
        text = str(column)
        if text in self.names:
            return self.names.index(text)
        if text.lstrip("-").isdigit() and -len(self.names) <= int(text) < len(self.names):
            return int(text) % len(self.names)
        close = difflib.get_close_matches(text, self.names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(
            f"{option}={column} was given; {self.path} has the columns {', '.join(self.names[:20])}"
            f"{', …' if len(self.names) > 20 else ''}{hint}"
        )

    def parse_column(self, column: int, decimal: str = ".") -> tuple[np.ndarray, int | None]:
        """Return a column's values, NaN for gaps, and the first row that holds text instead (None if none does)."""
        cells = [row[column] for row in self.rows]
        if decimal != ".":
            cells = [cell.replace(decimal, ".") for cell in cells]
        try:
            return np.asarray(cells, dtype=np.float64), None
        except ValueError:
            values = [_parse_number(cell) for cell in cells]
            text = next((row for row, value in enumerate(values) if value is None), None)
            return np.array([np.nan if value is None else value for value in values]), text

    def describe_cell(self, row: int, column: int) -> str:
        """Say for messages where a cell stands."""
        return f"{self.path}, line {self.line_numbers[row]}, column {self.names[column]!r}"

    def select_rows(self, rows: np.ndarray) -> "DelimitedTable":
        """Select the rows where a mask (rows,) is true."""
        selected = np.flatnonzero(rows).tolist()
        return self._replace(
            rows=[self.rows[i] for i in selected], line_numbers=[self.line_numbers[i] for i in selected]
        )


def read_table(
    path: Path, delimiter: str = "auto", header: bool | Literal["auto"] = "auto", encoding: str = "utf-8"
) -> DelimitedTable:
    """Read a file's rows. Blank lines are passed over, and so are columns without a name (a saved index).

    Args:
        path: of the file.
        delimiter: a character, `tab`, `space` (any white space), or `auto`.
        header: whether the first line names the columns; `auto` looks whether it fits what stands below.
        encoding: of the text; a byte order mark is understood.

    Raises:
        UsageError: it is no text of this encoding, it has no rows, or they differ in width.
    """
    text = read_text(path, encoding)
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if not lines:
        raise UsageError(f"{path} is empty; needed: at least one row of numbers")
    separator = (
        _detect_delimiter(lines) if delimiter == "auto" else {"tab": "\t", "space": " "}.get(delimiter, delimiter)
    )
    if len(separator) != 1:
        raise UsageError(f"dataset.delimiter={delimiter} was given; needed: one character, tab, space or auto")
    rows, numbers = _parse_rows(path, text, separator)
    width = len(rows[0])
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != width:
            raise UsageError(
                f"{path}, line {number} has {len(row)} columns; needed: {width}, as in line {numbers[0]}; correct the "
                "line, or name the right delimiter "
                f"(dataset.delimiter={'tab' if separator.isspace() else separator} was used)"
            )
    has_header = _has_header(rows) if header == "auto" else header
    names = rows[0] if has_header else [str(i) for i in range(width)]
    rows, numbers = (rows[1:], numbers[1:]) if has_header else (rows, numbers)
    if not rows:
        raise UsageError(f"{path} has a header and no rows; needed: at least one row of numbers")
    used = [i for i, name in enumerate(names) if name]
    names = [names[i] for i in used]
    duplicate = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if duplicate is not None:
        raise UsageError(f"{path} has two columns named {duplicate!r}; rename one of them")
    if len(used) < width:
        rows = [[row[i] for i in used] for row in rows]
    return DelimitedTable(path, names, has_header, rows, numbers)


def read_text(path: Path, encoding: str, example: str = "FILE.csv (or dataset=image_folder)") -> str:
    """Read the text of a file; `example` is what to type instead of a folder.

    Raises:
        UsageError: it cannot be read, is no text of this encoding, or is a program's own format.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; needed: a file; type dataset.path={example}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); type another path") from error
    if content[:2] == b"PK" or content[:4] == b"\xd0\xcf\x11\xe0":
        raise UsageError(
            f"{path} is a spreadsheet or an archive; needed: text; save it as CSV from the program it is of"
        )
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    try:
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}, line {line} is not {encoding} text (byte 0x{content[error.start]:02x}); type the file's own "
            "encoding, such as dataset.encoding=latin-1"
        ) from error
    except LookupError as error:
        raise UsageError(f"dataset.encoding={encoding} was given; needed: utf-8, latin-1, cp1252, …") from error
    if "\0" in text:
        raise UsageError(f"{path} holds binary data; needed: text, such as CSV")
    return text


def _parse_rows(path: Path, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    if separator == " ":
        split = [(line.split(), number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        return [row for row, _ in split], [number for _, number in split]
    rows, numbers = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                numbers.append(reader.line_num)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num} cannot be read ({error}); look at its quotes") from error
    return rows, numbers


def _detect_delimiter(lines: Sequence[str]) -> str:
    """Find the character that stands in most lines as often as in the first: a comma may be a decimal point."""
    best, best_agreement = " ", 0.5
    for mark in ("\t", ";", "|", ","):
        count = lines[0].count(mark)
        agreement = sum(line.count(mark) == count for line in lines) / len(lines)
        if count and agreement > best_agreement:
            best, best_agreement = mark, agreement
    # Quoted commas upset the count: a comma in every line is still the best guess.
    return "," if best == " " and all("," in line for line in lines) else best


def _has_header(rows: list[list[str]]) -> bool:
    """Return whether the first row names the columns: it is text where the second one holds numbers."""
    first = [_parse_number(cell) for cell in rows[0]]
    if all(value is None for value in first):
        return True
    below = [_parse_number(cell) for cell in rows[1]] if len(rows) > 1 else first
    if any(a is None and b is not None for a, b in zip(first, below, strict=False)):
        return True
    # pandas calls columns without names 0, 1, 2, …: numbers, but not the data's.
    is_counted = rows[0][0] == "0" and all(
        a is None or cell == str(i) for i, (a, cell) in enumerate(zip(first, rows[0], strict=True))
    )
    return is_counted and len(rows) > 1 and (len(first) > 2 or None in first or None in below)


def _parse_number(cell: str) -> float | None:
    """Parse a cell: NaN for a gap, 1 and 0 for true and false, None for text."""
    lower = cell.strip().lower()
    if lower in MISSING:
        return float("nan")
    if lower in ("true", "false"):
        return float(lower == "true")
    try:
        return None if "_" in lower else float(lower)
    except ValueError:
        return None
