"""Which process runs a trial, and whether it still does: asked of this machine, or by a sign of life on another one."""

import json
import os
import platform
import secrets
import threading
from pathlib import Path
from types import TracebackType

from dlx.runs.rundir import now
from dlx.runs.status import is_alive

EVERY, SILENT = 10.0, 120.0  # seconds between signs of life, and after how many without one nobody is there


class Owner:
    """A process that works on a sweep, and its sign of life: a file in the sweep's directory.

    Args:
        directory: of the sweep.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "workers"
        self.name = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._stop = threading.Event()

    def __enter__(self) -> "Owner":
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {"host": platform.node(), "pid": os.getpid(), "started": now()}
        (self.folder / self.name).write_text(json.dumps(about), encoding="utf-8")
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        (self.folder / self.name).unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                (self.folder / self.name).touch()
            except OSError:  # a full disk is told by what trains
                return

    def gone(self, name: str | None) -> bool:
        """Whether another owner, of that name, has ended."""
        if name == self.name:
            return False
        file = self.folder / str(name)
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            silent = _clock(self.folder / self.name) - file.stat().st_mtime
        except (OSError, ValueError):  # removed at its end
            return True
        return not is_alive(about) if about.get("host") == platform.node() else silent > SILENT


def _clock(file: Path) -> float:
    """The time by the file system's clock, which several machines share."""
    file.touch()
    return file.stat().st_mtime


def running_here(about: dict[str, object]) -> bool:
    """Whether a run's own process goes on, on this machine: a launcher's may have outlived the sweep."""
    here = about.get("host") == platform.node()
    return about.get("status") == "running" and here and is_alive(about)
