"""A text file as UTF-8 bytes, block by block: decoded, checked, and brought to what Arrow's reader takes."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlx.errors import UsageError

BLOCK = 2**20  # bytes that are read at once
QUOTE, NEWLINE = b'"\n'


class UnusualQuotesError(Exception):
    """A quote that neither opens nor closes a whole cell: right or wrong, Arrow takes it for something else."""


class BlockStream:
    """Blocks of bytes as the file that Arrow's reader wants."""

    closed = False

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size` of them; none at the end."""
        parts, have = [self._rest] if self._rest else [], len(self._rest)
        while size < 0 or have < size:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            have += len(block)
        content = parts[0] if len(parts) == 1 else b"".join(parts)  # as a rule it is one block
        if 0 <= size < len(content):
            content, self._rest = content[:size], content[size:]
        else:
            self._rest = b""
        return content

    def close(self) -> None:
        self._blocks, self._rest = iter(()), b""


def decode_blocks(path: Path, encoding: str) -> Iterator[bytes]:
    """Yield a text as UTF-8, without its byte order mark.

    Raises:
        UsageError: the text is not of this encoding, or binary.
    """
    with open_binary(path) as file:
        block = file.read(BLOCK)
        encoding = find_encoding(block, encoding)
        if encoding == "utf-8" and block.startswith(codecs.BOM_UTF8):
            block = block[3:]
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            following = file.read(BLOCK)
            if encoding != "utf-8" or not block.isascii() or decoder.getstate()[0]:
                try:
                    text = decoder.decode(block, final=not following)
                except UnicodeDecodeError as error:
                    raise describe_encoding_error(path, encoding, error) from error
                block = block if encoding == "utf-8" else text.encode()
            if b"\0" in block:
                raise UsageError(f"{path} holds binary data; needed: text, such as CSV")
            yield block
            if not following:
                return
            block = following


def check_quotes(blocks: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """Check that each quote opens or closes a whole cell, or is one of two within it.

    Raises:
        UnusualQuotesError: one is elsewhere, or the last is not closed.
    """
    beside = np.frombuffer(b"\n\r" + separator, np.uint8)
    is_open, previous = False, NEWLINE  # as the last block ended
    for block in blocks:
        if previous == QUOTE and not is_open and block and block[0] not in (*beside.tolist(), QUOTE):
            raise UnusualQuotesError
        if QUOTE in block:
            data = np.frombuffer(block, np.uint8)
            places = np.flatnonzero(data == QUOTE)
            opening = (np.arange(len(places)) % 2 == 0) ^ is_open
            left = data[np.maximum(places - 1, 0)]
            if places[0] == 0:
                left[0] = previous
            right = data[np.minimum(places + 1, len(data) - 1)]  # of a last one: itself
            next_to = np.where(opening, left, right)
            if not (np.isin(next_to, beside) | (next_to == QUOTE)).all():
                raise UnusualQuotesError
            is_open ^= len(places) % 2 == 1
        previous = block[-1] if block else previous
        yield block
    if is_open:
        raise UnusualQuotesError


def squeeze_spaces(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Put one space for any white space within a line, and none at its ends."""
    rest = b""
    for block in blocks:
        lines, newline, rest = (rest + block).rpartition(b"\n")
        yield _squeeze(lines + newline)
    yield _squeeze(rest)


def _squeeze(lines: bytes) -> bytes:
    plain = re.sub(rb"[^\S\r\n]+", b" ", lines)
    return re.sub(rb"(?<=[\r\n]) | (?=[\r\n])", b"", plain).strip(b" ")


def quote_rows(rows: Iterable[Sequence[str]], separator: str) -> Iterator[bytes]:
    """Write rows of cells so that Arrow's reader finds the same cells: slow, and sure."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        writer.writerow(row)
        if text.tell() >= BLOCK:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def open_binary(path: Path, example: str = "FILE.csv (or dataset=image_folder)") -> Any:
    """Open a file of text to be read as bytes; `example` is what to type instead of a folder.

    Raises:
        UsageError: it cannot be read, or is a program's own format.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; needed: a file; type dataset.path={example}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); type another path") from error
    start = file.peek(4)
    if start[:2] == b"PK" or start[:4] == b"\xd0\xcf\x11\xe0":
        file.close()
        raise UsageError(
            f"{path} is a spreadsheet or an archive; needed: text; save it as CSV from the program it is of"
        )
    return file


def find_encoding(start: bytes, encoding: str) -> str:
    """Return the encoding of a text by its first bytes, which may be a byte order mark.

    Raises:
        UsageError: there is no such encoding.
    """
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise UsageError(f"dataset.encoding={encoding} was given; needed: utf-8, latin-1, cp1252, …") from error


def read_text(path: Path, encoding: str, example: str = "FILE.csv (or dataset=image_folder)") -> str:
    """Read the whole text of a file; `example` is what to type instead of a folder.

    Raises:
        UsageError: it cannot be read, is no text of this encoding, or is a program's own format.
    """
    with open_binary(path, example) as file:
        content = file.read()
    encoding = find_encoding(content, encoding)
    try:
        text: str = content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        raise describe_encoding_error(path, encoding, error) from error
    if "\0" in text:
        raise UsageError(f"{path} holds binary data; needed: text, such as CSV")
    return text


def describe_encoding_error(path: Path, encoding: str, error: UnicodeDecodeError) -> UsageError:
    """Say in which line of a file the bytes are of no such encoding: the file is read again, up to there."""
    wrong, content = error.object[error.start], path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as whole:
        wrong, content = content[whole.start], content[: whole.start]
    line = content.count(b"\n") + 1
    return UsageError(
        f"{path}, line {line} is not {encoding} text (byte 0x{wrong:02x}); type the file's own "
        "encoding, such as dataset.encoding=latin-1"
    )
