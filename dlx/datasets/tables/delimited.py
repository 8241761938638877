"""Delimited text as columns of numbers and of categories: the one reader of all tables.

Arrow cuts the file into cells, a few megabytes at a time; each cell is text until its whole column is known to hold
numbers by the grammar of `numbers`. Only float64 values and the codes of texts are kept. Every complaint names the
file, the line and the column: the file is read again for it, up to there.
"""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dlx.datasets.tables import numbers, text_stream
from dlx.datasets.tables.cells import CellReader
from dlx.datasets.tables.header import HeaderGuess, guess_header
from dlx.datasets.tables.text_stream import UnusualQuotesError, read_text
from dlx.errors import UsageError

# What stands for a gap where nothing is said of it. Matched to the letter, as all texts: Na is sodium.
MISSING = ("", "NA", "na", "N/A", "n/a", "NaN", "nan", "NAN", "NULL", "null", "Null", "None", "none", "NONE", "?", "-")
SAMPLE_CELLS, SAMPLE_ROWS = 5000, 1000  # that are looked at to tell a header

__all__ = ["MISSING", "CellFormat", "DelimitedFile", "DelimitedTable", "TextColumn", "read_table", "read_text"]


class CellFormat(NamedTuple):
    """How cells are to be understood."""

    decimal: str = "."
    thousands: str | None = None  # what separates thousands
    missing: Sequence[str] = MISSING  # what stands for a gap

    def parse(self, cell: str) -> float | None:
        """Parse a cell that is no gap; None where it is text."""
        return numbers.parse_number(cell, self.decimal, self.thousands)


class TextColumn(NamedTuple):
    """A column as categories."""

    codes: np.ndarray  # (rows,) int32, into
    values: list[str]  # the different cells, as they stand in the file

    def is_gap(self, missing: Sequence[str]) -> np.ndarray:
        """Return which cells (rows,) stand for gaps."""
        known = frozenset(missing)
        gaps = [i for i, value in enumerate(self.values) if value in known]
        return np.isin(self.codes, gaps) if gaps else np.zeros(len(self.codes), dtype=bool)

    def find_values(self, missing: Sequence[str]) -> list[str]:
        """Return the different texts that occur, sorted, gaps apart."""
        occurring = np.bincount(self.codes, minlength=len(self.values)) > 0
        return sorted(v for v, occurs in zip(self.values, occurring, strict=True) if occurs and v not in missing)


class DelimitedFile:
    """A file whose separator and header are known and whose rows are still to be read.

    Blank lines are passed over, and so are columns without a name (a saved index): these leave a note.

    Args:
        path: of the file.
        delimiter: a character, `tab`, `space` (any white space), or `auto`.
        header: whether the first line names the columns; `auto` tells by the columns' types; a function of the first
            row's cells decides itself, and leaves what it answers None to `auto`.
        encoding: of the text; a byte order mark is understood.
        cells: how cells are to be understood.

    Raises:
        UsageError: it is no text of this encoding, or it has no rows.
    """

    def __init__(
        self,
        path: Path,
        delimiter: str = "auto",
        header: bool | Literal["auto"] | Callable[[list[str]], bool | None] = "auto",
        encoding: str = "utf-8",
        cells: CellFormat | None = None,
    ) -> None:
        self.path, self.notes = path, list[str]()
        self.cells = cells or CellFormat()
        self.reader = CellReader(path, delimiter, encoding)
        first, self.width = self._read_sample(), self.reader.width
        if callable(header):
            answer = header(first[0])
            header = "auto" if answer is None else answer
        same = [row for row in first if len(row) == self.width]
        guess = guess_header(same, self.cells.parse, self.cells.missing) if header == "auto" else HeaderGuess(header)
        self.has_header = guess.has_header
        if guess.note:
            self.notes.append(f"{path}: {guess.note}")
        names = first[0] if self.has_header else [str(i) for i in range(self.width)]
        self.sample = same[self.has_header :]  # the first rows, without a header
        if len(first) == self.has_header:
            raise UsageError(f"{path} has a header and no rows; needed: at least one row of numbers")
        self.used = [i for i, name in enumerate(names) if name]  # where the columns stand in the file
        self.names = [names[i] for i in self.used]
        for i in sorted(set(range(self.width)) - set(self.used)):
            self.notes.append(f"{path}: column {i + 1} has no name and was left out (a saved index is such a column)")
        duplicate = next((name for i, name in enumerate(self.names) if name in self.names[:i]), None)
        if duplicate is not None:
            raise UsageError(f"{path} has two columns named {duplicate!r}; rename one of them")

    @property
    def trimmed(self) -> bool:
        """Whether white space around a cell was left out of what was read."""
        return self.reader.trimmed

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

    def looks_like_text(self, column: int) -> bool:
        """Return whether the first rows hold text in a column."""
        cells = (row[self.used[column]] for row in self.sample)
        return any(cell not in self.cells.missing and self.cells.parse(cell) is None for cell in cells)

    def read(self, numeric: Sequence[int], text: Sequence[int] = ()) -> "DelimitedTable":
        """Read all rows: some columns as numbers, some as text.

        Raises:
            UsageError: rows differ in width, or quotes are not closed.
        """
        import pyarrow as pa

        block, careful = text_stream.BLOCK, False
        while True:
            try:
                return self._read(numeric, text, block, careful)
            except UnusualQuotesError:
                careful = True
            except pa.ArrowInvalid as error:
                if "straddling" in str(error) and block < 2**30:  # a row longer than a block
                    block *= 8
                    continue
                self._find_bad_row()
                raise UsageError(f"{self.path} cannot be read ({error}); look at its quotes and delimiters") from error

    def locate_row(self, row: int) -> tuple[int, list[str]]:
        """Return the line where a row begins, counted from 1, and its cells."""
        for number, (line, cells) in enumerate(self.reader.iterate_rows(), -self.has_header):
            if number == row:
                return line, [cells[i] for i in self.used]
        raise IndexError(row)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, numeric: Sequence[int], text: Sequence[int], block: int, careful: bool) -> "DelimitedTable":
        import pyarrow as pa

        missing = pa.array(list(self.cells.missing), pa.string())
        sentinels = [n for n in map(self.cells.parse, self.cells.missing) if n is not None]
        matrix = np.empty((0, len(numeric)))
        first_text: dict[int, int] = {}
        codes: dict[int, list[Any]] = {column: [] for column in text}
        start = 0
        header = self.has_header
        for batch in self.reader.read_batches(block, careful):
            if header:  # the first row that is not blank
                batch, header = [column.slice(1) for column in batch], False
            rows = len(batch[0])
            if not rows:
                continue
            if start + rows > len(matrix):
                matrix = self._grow(matrix, start, rows, block)
            for place, column in enumerate(numeric):
                if column in first_text:
                    continue
                values, wrong = numbers.parse_cells(
                    batch[self.used[column]], missing, self.cells.decimal, self.cells.thousands
                )
                if wrong is not None:
                    first_text[column] = start + wrong
                    continue
                values = np.where(np.isin(values, sentinels), np.nan, values) if sentinels else values
                matrix[start : start + rows, place] = values
            for column, chunks in codes.items():
                chunks.append(batch[self.used[column]].dictionary_encode())
            start += rows
        matrix.resize((start, len(numeric)), refcheck=False)
        texts = {column: _join_categories(chunks) for column, chunks in codes.items()}
        return DelimitedTable(self, start, list(numeric), matrix, first_text, texts)

    def _grow(self, matrix: np.ndarray, filled: int, rows: int, block: int) -> np.ndarray:
        """Make room for more rows: for as many as the file seems to hold, later for a quarter more.

        Memory that is not written to is not taken yet, and what is left over is given back at the end.
        """
        if filled:
            matrix.resize((max(len(matrix) * 5 // 4, filled + rows), matrix.shape[1]), refcheck=False)
            return matrix
        blocks = self.path.stat().st_size / block
        return np.empty((max(rows, round(1.05 * rows * blocks)), matrix.shape[1]))

    def _read_sample(self) -> list[list[str]]:
        """Read the first rows: enough to tell what each column holds."""
        sample: list[list[str]] = []
        for _, cells in self.reader.iterate_rows():
            sample.append(cells)
            if len(sample) > max(20, min(SAMPLE_ROWS, SAMPLE_CELLS // len(cells))):
                break
        return sample

    def _find_bad_row(self) -> None:
        """Refuse the first row of another width."""
        begin = None
        for line, cells in self.reader.iterate_rows():
            begin = line if begin is None else begin
            if len(cells) != self.width:
                mark = "tab" if self.reader.separator.isspace() else self.reader.separator
                raise UsageError(
                    f"{self.path}, line {line} has {len(cells)} columns; needed: {self.width}, as in line {begin}; "
                    f"correct the line, or name the right delimiter (dataset.delimiter={mark} was used)"
                )


class DelimitedTable:
    """The rows of a file.

    Args:
        file: that they stand in.
        rows: their number.
        numeric: columns that were read as numbers.
        matrix: their values (rows, columns) float64, NaN for gaps; not of those that hold text.
        first_text: where columns hold text, the first row that does.
        texts: columns that were read as text.
        index: (rows,) places of the rows in the file, where only some are left.
    """

    def __init__(
        self,
        file: DelimitedFile,
        rows: int,
        numeric: list[int],
        matrix: np.ndarray,
        first_text: dict[int, int],
        texts: dict[int, TextColumn],
        index: np.ndarray | None = None,
    ) -> None:
        self.file, self.rows, self.numeric, self.matrix = file, rows, numeric, matrix
        self.first_text, self.texts, self.index = first_text, texts, index
        self.path, self.names, self.has_header = file.path, file.names, file.has_header

    def find_column(self, column: str | int, option: str) -> int:
        """Find a column as `DelimitedFile.find_column` does."""
        return self.file.find_column(column, option)

    def has_numeric_gaps(self) -> bool:
        """Return whether any column that was read as numbers has a gap."""
        return bool(np.isnan(self.matrix.sum()))  # one pass, without a mask of all cells

    def get_numbers(self, column: int) -> np.ndarray:
        """Return the values (rows,) of a column that was read as numbers."""
        return self.matrix[:, self.numeric.index(column)]

    def read_texts(self, columns: Sequence[int]) -> None:
        """Read columns as text that turned out to hold it: the file is read again."""
        absent = [column for column in columns if column not in self.texts]
        if absent:
            texts = self.file.read([], absent).texts
            self.texts.update(
                {c: t if self.index is None else t._replace(codes=t.codes[self.index]) for c, t in texts.items()}
            )

    def parse_text(self, column: int, missing: Sequence[str]) -> tuple[np.ndarray, int | None]:
        """Parse a column that was read as text: its values (rows,), NaN for gaps, and the first row that is text."""
        import pyarrow as pa

        text, cells = self.texts[column], self.file.cells
        values, row = numbers.parse_cells(
            pa.array(text.values, pa.string()), pa.array(list(missing), pa.string()), cells.decimal, cells.thousands
        )
        if row is None:
            return values[text.codes], None
        parsed = [np.nan if cell in missing else cells.parse(cell) for cell in text.values]
        is_text = np.array([value is None for value in parsed], dtype=bool)[text.codes]
        values = np.array([np.nan if value is None else value for value in parsed])[text.codes]
        return values, int(is_text.argmax()) if is_text.any() else None

    def locate_row(self, row: int) -> tuple[int, list[str]]:
        """Return the line of the file where a row begins, counted from 1, and its cells."""
        return self.file.locate_row(row if self.index is None else int(self.index[row]))

    def find_line(self, row: int) -> int:
        """Return the line of the file where a row begins, counted from 1."""
        return self.locate_row(row)[0]

    def read_cell(self, row: int, column: int) -> str:
        """Return a cell as it stands in the file."""
        return self.locate_row(row)[1][column]

    def describe_cell(self, row: int, column: int) -> str:
        """Say for messages where a cell stands."""
        return f"{self.path}, line {self.locate_row(row)[0]}, column {self.names[column]!r}"

    def select_rows(self, rows: np.ndarray) -> "DelimitedTable":
        """Select the rows where a mask (rows,) is true."""
        index = np.flatnonzero(rows)
        texts = {column: text._replace(codes=text.codes[index]) for column, text in self.texts.items()}
        first_text: dict[int, int] = {}
        for column, row in self.first_text.items():
            first_text[column] = int(np.searchsorted(index, row))
        kept = index if self.index is None else self.index[index]
        return DelimitedTable(self.file, len(index), self.numeric, self.matrix[index], first_text, texts, kept)


def read_table(
    path: Path, delimiter: str = "auto", header: bool | Literal["auto"] = "auto", encoding: str = "utf-8"
) -> DelimitedTable:
    """Read a table whose columns are all wanted as numbers; the arguments and errors are those of `DelimitedFile`."""
    file = DelimitedFile(path, delimiter, header, encoding)
    return file.read(range(len(file.names)))


def _join_categories(chunks: list[Any]) -> TextColumn:
    import pyarrow as pa

    if not chunks:
        return TextColumn(np.empty(0, np.int32), [])
    joined = pa.chunked_array(chunks).unify_dictionaries().combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        joined = joined.chunk(0)
    return TextColumn(joined.indices.to_numpy(zero_copy_only=False), joined.dictionary.to_pylist())
