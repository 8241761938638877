"""What every rank but the first does: it waits for the configuration, and learns along without a word."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from dlx.config.search import import_from_here
from dlx.distributed import group
from dlx.errors import DlxError
from dlx.hardware import processes
from dlx.runs.rundir import Run
from dlx.terminal.console import debugging, show_error

Message = tuple[str, dict[str, Any]] | int  # a verb and the configuration, or the exit code of a command that is over


class Unwritten(Run):
    """A run that another process writes."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def read(self) -> dict[str, Any]:
        return {}

    def write(self, content: dict[str, Any]) -> None:
        pass


def lead(verb: str, config: DictConfig) -> group.Alone:
    """Meet the other ranks, if there are any, and tell them what to do; they are told already.

    Raises:
        UsageError: the configuration is one for a single process.
    """
    processes.check(config.trainer)
    joined = group.join()
    if joined.world > 1 and joined.rank == 0:
        plain: Any = OmegaConf.to_container(config)  # interpolations wait for the data, as here
        joined.first((verb, plain))
    return joined


def follow() -> int:
    """Do as the first rank says. Returns the exit code, where all went well; the first rank tells what did not."""
    code = _followed()
    if code:
        _exit(code)
    return code


def _exit(code: int) -> NoReturn:
    """End at once: an exchange that will never be over is not waited for, as it would be when Python cleans up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _followed() -> int:
    import_from_here()
    try:
        message: Message = group.join().first(0)
        if isinstance(message, int):
            return message
        verb, config = message
        from dlx import run

        composed = OmegaConf.create(config)
        assert isinstance(composed, DictConfig)
        if verb == "train":
            run.train_in(Path(os.devnull), composed, {})
        else:
            run.resume(Unwritten(), composed)
        group.leave()
        return 0
    except DlxError as error:
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debugging():
            show_error(error, name=f"dlx, rank {processes.rank()}")
        return 1


def dismiss(code: int) -> None:
    """The first rank's command is over; if the others are still waiting for what to do, let them go with its code."""
    if not group.joined():
        group.join().first(code)
    if code:
        _exit(code)
    group.leave()
