"""Whether the process that owns a trial is alive: asked of this machine, or by its heartbeat on another one."""

import json
import os
import platform
import secrets
import threading
from pathlib import Path
from types import TracebackType

from dlx.runs.atomic import write_atomically
from dlx.runs.rundir import now
from dlx.runs.status import is_alive

INTERVAL, TIMEOUT = 10.0, 120.0  # seconds between beats, and without a beat until a process counts as dead


class Heartbeat:
    """A process' sign of life while it works on a sweep: a file in `workers/` that it touches every few seconds.

    Args:
        directory: the sweep's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "workers"
        self.name = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._stop = threading.Event()

    def __enter__(self) -> "Heartbeat":
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {"host": platform.node(), "pid": os.getpid(), "started": now()}
        write_atomically(self.folder / self.name, json.dumps(about))
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        (self.folder / self.name).unlink(missing_ok=True)

    def _beat(self) -> None:
        """Touch the file until the process ends."""
        while not self._stop.wait(INTERVAL):
            try:
                (self.folder / self.name).touch()
            except OSError:  # a full disk is reported by the training itself
                return

    def is_dead(self, name: str | None) -> bool:
        """Whether the process with the heartbeat of this name has ended."""
        if name == self.name:
            return False
        file = self.folder / str(name)
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            silence = _get_file_system_time(self.folder / self.name) - file.stat().st_mtime
        except (OSError, ValueError):  # it removes the file when it ends
            return True
        return not is_alive(about) if about.get("host") == platform.node() else silence > TIMEOUT


def _get_file_system_time(file: Path) -> float:
    """Return the time by the file system's clock, which several machines share."""
    file.touch()
    return file.stat().st_mtime


def is_running_here(about: dict[str, object]) -> bool:
    """Whether a run's own process is alive on this machine: a launcher's worker may have outlived the sweep."""
    here = about.get("host") == platform.node()
    return about.get("status") == "running" and here and is_alive(about)
