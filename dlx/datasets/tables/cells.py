"""A file of delimited text cut into cells: fast, by Arrow, and row by row, by Python's reader, for a look at a few."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlx.datasets.tables import numbers, text_stream
from dlx.datasets.tables.text_stream import BlockStream
from dlx.errors import UsageError


class CellReader:
    """Cells of a file whose separator is known.

    Args:
        path: of the file.
        delimiter: a character, `tab`, `space` (any white space), or `auto`.
        encoding: of the text; a byte order mark is understood.

    Raises:
        UsageError: the file is empty, or the delimiter is no character.
    """

    def __init__(self, path: Path, delimiter: str, encoding: str) -> None:
        self.path, self._is_padded = path, False
        self.trimmed = False  # whether white space around a cell was left out
        with text_stream.open_binary(path) as file:
            self.encoding = text_stream.find_encoding(file.peek(4), encoding)
        self.separator = self._find_separator(delimiter)
        first = next((cells for _, cells in self.iterate_rows()), None)
        if first is None:
            raise UsageError(f"{path} holds delimiters alone; needed: at least one row of numbers")
        self.width = len(first)  # columns

    def read_batches(self, block: int, careful: bool) -> Iterator[list[Any]]:
        """Yield the cells, column by column, without white space around them or blank rows.

        Args:
            block: bytes that Arrow reads at once.
            careful: by Python's reader, where quotes are such that Arrow would go wrong.
        """
        from pyarrow import csv as arrow_csv
        from pyarrow import string

        if careful:
            rows = (cells for _, cells in self.iterate_rows())
            blocks = text_stream.quote_rows(rows, self.separator)
        elif self.separator == " ":
            blocks = text_stream.squeeze_spaces(text_stream.decode_blocks(self.path, self.encoding))
        else:
            blocks = text_stream.check_quotes(
                text_stream.decode_blocks(self.path, self.encoding), self.separator.encode()
            )
        names = [str(i) for i in range(self.width)]
        reader = arrow_csv.open_csv(
            BlockStream(self._look_for_padding(blocks)),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=block, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.separator,
                quote_char=False if self.separator == " " else '"',
                newlines_in_values=self.separator != " ",
                invalid_row_handler=self._handle_width,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, string()), strings_can_be_null=False, check_utf8=False
            ),
        )
        for batch in reader:
            columns = [numbers.trim(column) for column in batch.columns] if self._is_padded else batch.columns
            self.trimmed = self.trimmed or (self._is_padded and _are_shorter(columns, batch.columns))
            columns = _drop_blank_rows(columns)
            if len(columns[0]):
                yield columns

    def iterate_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not blank, and the line where it begins: Python's reader, slow, for a look at a few.

        Raises:
            UsageError: a quote is where none may be, or is not closed.
        """
        newline = None if self.separator == " " else ""
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        with self.path.open(encoding=encoding, newline=newline) as file:
            try:
                if self.separator == " ":
                    yield from ((number, line.split()) for number, line in enumerate(file, 1) if line.strip())
                    return
                reader = csv.reader(file, delimiter=self.separator, skipinitialspace=True, strict=True)
                line = 1
                for cells in reader:
                    plain = [cell.strip() for cell in cells]
                    self.trimmed = self.trimmed or plain != cells
                    if any(plain):
                        yield line, plain
                    line = reader.line_num + 1
            except csv.Error as error:
                raise UsageError(
                    f"{self.path}, line {reader.line_num} cannot be read ({error}); look at its quotes"
                ) from error
            except UnicodeDecodeError as error:
                raise text_stream.describe_encoding_error(self.path, self.encoding, error) from error

    def _look_for_padding(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Notice, for all that is read from here on, whether there is anything that could be white space in a cell."""
        marks = [mark for mark in (b" ", b"\t", b'"') if mark != self.separator.encode()]
        self._is_padded = False
        for block in blocks:
            self._is_padded = self._is_padded or not block.isascii() or any(mark in block for mark in marks)
            yield block

    def _handle_width(self, row: Any) -> str:
        return "error" if row.text.replace(self.separator, "").strip() else "skip"

    def _find_separator(self, delimiter: str) -> str:
        lines: list[str] = []
        blocks = text_stream.decode_blocks(self.path, self.encoding)
        text = ""
        for block in blocks:  # the first one, unless it is blank or a piece of one line
            text += block.decode(errors="ignore")
            lines = [line for line in text.splitlines()[:20] if line.strip()]
            if len(lines) > 1:
                break
        if not lines:
            raise UsageError(f"{self.path} is empty; needed: at least one row of numbers")
        found = (
            _detect_delimiter(lines) if delimiter == "auto" else {"tab": "\t", "space": " "}.get(delimiter, delimiter)
        )
        if len(found) != 1:
            raise UsageError(f"dataset.delimiter={delimiter} was given; needed: one character, tab, space or auto")
        return found


def _are_shorter(trimmed: Sequence[Any], columns: Sequence[Any]) -> bool:
    """Return whether trimming has left out anything of some columns of strings."""
    pairs = ((a, b) for a, b in zip(trimmed, columns, strict=True) if a is not b)
    return any(np.ptp(numbers.get_offsets(a)) < np.ptp(numbers.get_offsets(b)) for a, b in pairs)


def _drop_blank_rows(columns: list[Any]) -> list[Any]:
    """Drop the rows whose cells are all empty."""
    import pyarrow as pa

    blank: np.ndarray | None = None
    for column in columns:
        empty = np.diff(numbers.get_offsets(column)) == 0
        blank = empty if blank is None else blank & empty
        if not blank.any():
            return columns
    assert blank is not None
    kept = pa.array(~blank)
    return [column.filter(kept) for column in columns]


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
