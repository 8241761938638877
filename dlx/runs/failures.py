"""Record the jobs of a sweep that failed, and read them back."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlx.errors import DlxError
from dlx.terminal.console import find_user_frame, show_error

FAILED = "failed.jsonl"  # in a sweep's directory: one line for each job that failed


def record(sweep: Path, number: int, overrides: Sequence[str], error: Exception, trial: int | None = None) -> None:
    """Show what a job failed of, and note it in the sweep's directory.

    Args:
        sweep: the sweep's directory.
        number: of the job.
        overrides: its own.
        error: what it raised.
        trial: its number as a search's trial, if it is one.
    """
    words = " ".join(word for word in overrides if not word.startswith("hydra."))
    show_error(error, name=f"job {number} ({words})" if trial is None else f"trial {trial}")
    text = str(error).splitlines()[0] if str(error) else repr(error)
    line = {
        "job": number,
        "overrides": words,
        "error": text if isinstance(error, DlxError) or not str(error) else f"{type(error).__name__}: {text}",
        **({"trial": trial} if trial is not None else {}),
        **({"place": place} if (place := find_user_frame(error)) else {}),
    }
    with contextlib.suppress(OSError), (sweep / FAILED).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def failures(sweep: Path) -> Iterator[dict[str, Any]]:
    """The jobs of a sweep that failed, in the order in which they did."""
    with contextlib.suppress(FileNotFoundError):
        for line in (sweep / FAILED).read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
