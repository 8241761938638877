"""Run a rank other than rank 0: wait for its configuration, then train along silently."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig, OmegaConf

from dlx.config.search import add_cwd_to_sys_path
from dlx.config.trusted import trust_while_composing
from dlx.distributed.group import has_joined
from dlx.distributed.join import Message, join_group, leave_after_barrier
from dlx.errors import DlxError
from dlx.hardware import processes
from dlx.runs.rundir import NullRun
from dlx.terminal.console import is_debugging, show_error


def run_worker() -> int:
    """Run the job that rank 0 broadcasts, and return 0. On failure exit the process; rank 0 reports the error."""
    code = _run_job()
    if code:
        _exit(code)
    return code


def _exit(code: int) -> NoReturn:
    """Exit at once, without Python's clean-up, which would wait for a collective that will never complete."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_job() -> int:
    with trust_while_composing():  # rank 0 has asked
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
    """End the command on rank 0: ranks still waiting for a job exit with its code."""
    if not has_joined():
        join_group().broadcast(code)
    if code:
        _exit(code)
    leave_after_barrier()
