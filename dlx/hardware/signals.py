"""Let the training loop finish its step when a signal asks the run to stop."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Ctrl-C, kill, a terminal that closes, a scheduler's processor time: each asks the run to save and stop.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)


_saving: list[bool] = []  # for each save under way, whether a second signal has come in it


@contextlib.contextmanager
def postpone_interrupts() -> Iterator[None]:
    """Have a second signal wait until the block is done: a save that it cut short would be no save.

    Raises:
        KeyboardInterrupt: at the end of the block, if one has come.
    """
    _saving.append(False)
    try:
        yield
    finally:
        has_come = _saving.pop()
    if has_come:
        raise KeyboardInterrupt


class Interrupt:
    """True once one of `SIGNALS` has come: the loop finishes its step first. A second signal stops at once."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __bool__(self) -> bool:
        return self.name is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None:
            if _saving:
                _saving[-1] = True  # it stops when what is being written is whole
                return
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


@contextlib.contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Catch `SIGNALS` within the context, in the main thread; in other threads nothing changes."""
    interrupt = Interrupt()
    before: dict[int, Any] = {}
    try:
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: a run that is to outlive its terminal does
            with contextlib.suppress(ValueError):  # not the main thread: a notebook's worker, a sweep's thread
                before[number] = signal.signal(number, interrupt._handle)
        yield interrupt
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
