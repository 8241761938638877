"""Write files so that each is whole at every moment, also after a power cut: write aside, fsync, rename."""

import contextlib
import os
import platform
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file by `content`; a crash leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; the file of before is untouched, and nothing is left beside it.
    """
    aside = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.new")
    data = content.encode() if isinstance(content, str) else content
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_asides(folder: Path) -> None:
    """Remove what killed processes left beside the files of a folder; call it where no other process writes."""
    for left in (*folder.rglob(".*.new"), *folder.rglob("*.pt.new"), *folder.glob(".reserve")):
        with contextlib.suppress(OSError):
            left.unlink()


def _sync_folder(folder: Path) -> None:
    """Have a rename reach the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
