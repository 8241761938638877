"""Let one process at a time train in a run directory: a lock that the system drops when its holder dies."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dlx.errors import UsageError

FILE = ".lock"  # stays in the directory: whoever removes a lock that somebody waits for locks nothing


@contextlib.contextmanager
def lock_run(directory: Path) -> Iterator[None]:
    """Hold a run directory within the block; the same process may hold it several times over.

    A lock whose holder was killed is free again at once. A file system without locks is not locked.

    Raises:
        UsageError: another process holds it; host and process are named.
        OSError: the lock's file cannot be written.
    """
    lock = FileLock(directory / FILE, timeout=0, is_singleton=True, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"{directory} is being trained by another process ({_describe_holder(directory)}); wait for it, or "
            "stop it: kill -INT lets it save"
        ) from error
    except NotImplementedError:  # the file system has no locks
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _describe_holder(directory: Path) -> str:
    """Return host and process of the run's newest start, as run.json has them."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        about = json.loads((directory / "run.json").read_text(encoding="utf-8"))
        return f"process {about.get('pid')} on {about.get('host')}"
    return f"on {platform.node()}" if os.path.exists(directory) else "unknown"
