"""Meet the other processes that torchrun started, and part from them."""

from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf

from dlx.distributed.group import SingleProcess, current_group, has_joined, leave_group, set_current_group
from dlx.hardware import processes

Message = tuple[str, dict[str, Any]] | int  # a verb and its configuration, or the exit code of a finished command


def join_group() -> SingleProcess:
    """Meet the other processes that torchrun started; at a second call nothing happens.

    Raises:
        TrainingError: they do not come.
    """
    if not has_joined() and processes.world() > 1:
        from dlx.distributed.process_group import ProcessGroup

        set_current_group(ProcessGroup())
    return current_group()


def broadcast_job(verb: str, config: DictConfig) -> SingleProcess:
    """Meet the other ranks, if there are any, and tell them what to do; they are told already.

    Raises:
        UsageError: the configuration is one for a single process.
    """
    processes.check(config.trainer)
    group = join_group()
    if group.world > 1 and group.rank == 0:
        plain: Any = OmegaConf.to_container(config)  # interpolations wait for the data, as here
        group.broadcast((verb, plain))
    return group


def leave_after_barrier() -> None:
    """Part from the others, once all are there."""
    if current_group().world > 1:
        dist.barrier()
        dist.destroy_process_group()
        leave_group()
