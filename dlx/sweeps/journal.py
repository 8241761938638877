"""Optuna's journal file without fsync, for many small values; and the repair of a journal after a kill.

An fsync takes 7 ms each time here, more than an epoch of a small network; what a power cut may lose are intermediate
values, which only a pruner looks at.
"""

import json
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from dlx.errors import UsageError


class UnsyncedJournalBackend(JournalFileBackend):
    """Optuna's journal file without fsync.

    Args:
        file_path: the journal.
        lock_obj: the lock that all its writers share.
    """

    def __init__(self, file_path: str, lock_obj: JournalFileOpenLock) -> None:
        super().__init__(file_path, lock_obj)
        self._path, self._own_lock = file_path, lock_obj

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._own_lock.acquire()
        try:
            with open(self._path, "ab") as file:
                file.write(lines.encode())
        finally:
            self._own_lock.release()


def repair_journal(file: Path, lock: JournalFileOpenLock) -> None:
    """Cut off a last line that a killed process left half written: the next one would be appended to it.

    Args:
        file: the journal, which need not be there yet.
        lock: the lock that all its writers share.

    Raises:
        UsageError: the journal is damaged elsewhere, or missing though there are runs.
    """
    runs = f"its runs are as they were (dlx runs --sweep {file.parent.name}); type another name for a new sweep"
    lock.acquire()
    try:
        content = file.read_bytes() if file.exists() else b""
        complete = content[: content.rfind(b"\n") + 1]
        if not complete and any(file.parent.glob("*/run.json")):
            raise UsageError(f"{file} has none of the sweep's trials; needed: the file as it was written; {runs}")
        for number, line in enumerate(complete.splitlines(), 1):
            try:
                json.loads(line)
            except ValueError as error:
                raise UsageError(
                    f"{file}:{number} cannot be read; needed: the file as it was written; {runs}"
                ) from error
        if len(complete) < len(content):
            with file.open("r+b") as journal:
                journal.truncate(len(complete))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}; needed: the file as it was written; {runs}"
        ) from error
    finally:
        lock.release()
