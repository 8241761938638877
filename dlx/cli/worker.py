"""Run a rank other than the first: wait for its configuration, then train along silently."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig, OmegaConf

from dlx.config.search import add_cwd_to_sys_path
from dlx.distributed.group import has_joined
from dlx.distributed.join import Message, join_group, leave_after_barrier
from dlx.errors import DlxError
from dlx.hardware import processes
from dlx.runs.rundir import NullRun
from dlx.terminal.console import is_debugging, show_error


def run_worker() -> int:
    """Do as the first rank says. Returns the exit code, where all went well; the first rank tells what did not."""
    code = _run_job()
    if code:
        _exit(code)
    return code


def _exit(code: int) -> NoReturn:
    """End at once: an exchange that will never be over is not waited for, as it would be when Python cleans up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_job() -> int:
    add_cwd_to_sys_path()
    try:
        message: Message = join_group().broadcast(0)
        if isinstance(message, int):
            return message
        verb, config = message
        from dlx import run

        composed = OmegaConf.create(config)
        assert isinstance(composed, DictConfig)
        if verb == "train":
            run.train_in(Path(os.devnull), composed, {})
        else:
            run.resume(NullRun(), composed)
        leave_after_barrier()
        return 0
    except DlxError as error:
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if is_debugging():
            show_error(error, name=f"dlx, rank {processes.rank()}")
        return 1


def release_workers(code: int) -> None:
    """The first rank's command is over; if the others are still waiting for what to do, let them go with its code."""
    if not has_joined():
        join_group().broadcast(code)
    if code:
        _exit(code)
    leave_after_barrier()
