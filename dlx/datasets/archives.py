"""Bound what archives and pictures unfold to, before anything of them is read."""

import zipfile
from pathlib import Path
from typing import IO

MOST_UNFOLDED = 64 * 2**30  # bytes of all entries of an archive
MOST_PICTURE = 2**28  # of one picture's file: it is read whole, and decoded at once
SMALL = 2**24  # an entry up to here may be pressed as tightly as it likes
MOST_RATIO = 1100  # deflate reaches 1032 at most; bzip2 and LZMA go far beyond on data that says nothing


def check_archive(path: Path | IO[bytes], most: int) -> None:
    """Refuse a .zip or .npz whose directory says that it unfolds to more than a bound, or names what is not in it.

    Args:
        path: of the archive, or its bytes.
        most: bytes of one entry.

    Raises:
        ValueError: an entry is too large, or pressed beyond what honest data is; encrypted.
        OSError, zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > MOST_UNFOLDED:
        raise ValueError(f"it unfolds to more than {MOST_UNFOLDED / 2**30:g} GiB")
    for entry in entries:
        check_entry(entry, most)


def check_entry(entry: zipfile.ZipInfo, most: int) -> None:
    """Refuse one entry of an archive; see `check_archive`."""
    if entry.file_size > most:
        raise ValueError(f"{entry.filename} unfolds to {entry.file_size:,} bytes, more than {most:,}")
    if entry.file_size > SMALL and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
        ratio = entry.file_size // max(entry.compress_size, 1)
        raise ValueError(f"{entry.filename} unfolds to {ratio:,} times its size")
    if entry.flag_bits & 1:
        raise ValueError(f"{entry.filename} is encrypted")
