"""Remember which files a verb wrote for a run, so that no other run's are overwritten."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from dlx.errors import UsageError
from dlx.runs.rundir import Run


def check_outputs(run: Run, paths: Iterable[Path]) -> None:
    """Refuse to overwrite files that were not written for this run, or were changed since.

    Raises:
        UsageError: a file is there already.
    """
    known = run.read().get("outputs", {})
    for path in paths:
        if path.is_file() and known.get(str(path.absolute())) != path.stat().st_mtime_ns:
            raise UsageError(
                f"{path} is there already, and is not of {run.directory}; "
                f"type -o {path.with_stem(f'{path.stem}-{run.directory.name[-8:]}')}, or remove it"
            )


def record_outputs(run: Run, paths: Iterable[Path]) -> None:
    """Note in run.json which files were written for the run; a run that cannot be written goes without."""
    written = {str(path.absolute()): path.stat().st_mtime_ns for path in paths if path.is_file()}
    with contextlib.suppress(OSError):
        run.update(outputs={**run.read().get("outputs", {}), **written})
