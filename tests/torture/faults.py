"""Faults of the file functions: what writes into a run's directory fails, is torn, or ends the process."""

import builtins
import io
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

KINDS = (
    "kill",  # SIGKILL at a random moment
    "kill at save",  # SIGKILL at a random opening, renaming, linking or removing of a file
    "torn write",  # half of a write, then SIGKILL
    "EIO",  # one write fails
    "ENOSPC",  # from a write on, all fail, after half of it
    "signal",  # one that asks to stop
    "two signals",  # the second while the first is being obeyed
)
CHANGES = ("os.rename", "os.remove", "os.link", "os.truncate", "os.mkdir")


class Countdown:
    """Do something at the n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def inject(kind: str, directory: Path, dice: random.Random, seconds: float, changes: int, writes: int) -> None:
    """Set up one fault in this process.

    Args:
        kind: one of `KINDS`.
        directory: of the run; no other file is touched.
        dice: decides when.
        seconds: about how long the run takes.
        changes: about how many files it opens, renames, links and removes.
        writes: about how often it writes.
    """
    if kind == "kill at save":
        _watch(directory, Countdown(dice.randint(1, changes)), kill)
    elif kind in ("torn write", "EIO", "ENOSPC"):
        _break_writes(kind, directory, dice.randint(1, writes))
    else:
        first = dice.uniform(0, seconds)
        number = dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU])
        gap = dice.choice([0.0, 0.001, 0.01])

        def strike() -> None:
            time.sleep(first)
            os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else number)
            if kind == "two signals":
                time.sleep(gap)
                os.kill(os.getpid(), number)

        threading.Thread(target=strike, daemon=True).start()


def _watch(directory: Path, counted: Countdown, act: Any) -> None:
    inside = str(directory) + os.sep

    def hook(event: str, given: tuple[Any, ...]) -> None:
        opens = event == "open" and isinstance(given[1], str) and bool(set(given[1]) & set("wax+"))
        if (opens or event in CHANGES) and str(given[0]).startswith(inside) and counted():
            act()

    sys.addaudithook(hook)


class Breaking:
    """A file whose writes fail: it hands everything else on."""

    def __init__(self, file: Any, counted: Countdown, kind: str) -> None:
        self._file, self._counted, self._kind = file, counted, kind

    def write(self, data: Any) -> int:
        if self._counted() or (self._kind == "ENOSPC" and self._counted.left < 0):
            half = bytes(data)[: len(data) // 2]
            self._file.write(half)
            self._file.flush()
            if self._kind == "torn write":
                kill()
            raise OSError(*((5, "Input/output error") if self._kind == "EIO" else (28, "No space left on device")))
        count: int = self._file.write(data)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Breaking":
        return self

    def __exit__(self, *given: object) -> None:
        self._file.close()


def _break_writes(kind: str, directory: Path, at: int) -> None:
    inside, opened, counted = str(directory) + os.sep, io.open, Countdown(at)

    def open_breaking(file: Any, mode: str = "r", *given: Any, **more: Any) -> Any:
        result = opened(file, mode, *given, **more)
        return Breaking(result, counted, kind) if str(file).startswith(inside) and set(mode) & set("wax+") else result

    io.open = builtins.open = open_breaking  # type: ignore[assignment]
