"""Finish the step under way when a signal asks the run to stop."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interrupt:
    """Whether SIGINT or SIGTERM came: the loop finishes its step first. A second one stops at once."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __bool__(self) -> bool:
        return self.name is not None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


@contextlib.contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Hear SIGINT and SIGTERM for a while, in the main thread; elsewhere nothing changes."""
    heard = Interrupt()
    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread: a notebook's worker, a sweep's thread
                before[number] = signal.signal(number, heard._hear)
        yield heard
    finally:
        for heeded, handler in before.items():
            signal.signal(heeded, handler)
