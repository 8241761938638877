"""Record in run.json how a run ended, also where the disk is full: some space is kept for that."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.runs.rundir import Run
from dlx.terminal.terminal import print_note

FILE = ".reserve"
BYTES = 16_384  # run.json several times over


@contextlib.contextmanager
def reserve_space(directory: Path) -> Iterator[None]:
    """Keep some space in a run's directory within the block; `record_end` gives it up where there is no other."""
    with contextlib.suppress(OSError):  # the disk is full by now, or this process writes nothing
        (directory / FILE).write_bytes(os.urandom(BYTES))  # no file system stores it in less
    try:
        yield
    finally:
        _release(directory)


def _release(directory: Path) -> None:
    with contextlib.suppress(OSError):
        (directory / FILE).unlink(missing_ok=True)


def record_end(run: Run, ended: dict[str, Any], seconds: float, stop_reason: str | None) -> None:
    """Write how a run ended; where that cannot be, say so instead of hiding the error under way.

    Args:
        run: of which the outcome is.
        ended: entries of run.json.
        seconds: that it took this time; those of earlier times are added.
        stop_reason: why a callback ended it.
    """
    for release in (False, True):
        if release:
            _release(run.directory)
        try:
            about = run.read()
            stopped = {"stopped": stop_reason} if stop_reason or "stopped" in about else {}
            run.write({**about, **ended, "seconds": round(about.get("seconds", 0.0) + seconds, 3), **stopped})
        except (OSError, UsageError) as error:
            problem = error.strerror if isinstance(error, OSError) else str(error)
        else:
            return
    if run.directory.is_dir():  # else the error under way says that it is gone
        print_note(f"{run.file} could not be written ({problem}): it does not say that the run is {ended['status']}")
