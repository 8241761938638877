"""Join and leave the group of processes that torchrun started."""

from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf

from dlx.distributed.group import SingleProcess, current_group, has_joined, leave_group, set_current_group
from dlx.hardware import processes

Message = tuple[str, dict[str, Any]] | int  # a verb and its configuration, or the exit code of a finished command


def join_group() -> SingleProcess:
    """Join the group of processes that torchrun started, once, and return it.

    Raises:
        TrainingError: the others do not join.
    """
    if not has_joined() and processes.world_size() > 1:
        from dlx.distributed.process_group import ProcessGroup

        set_current_group(ProcessGroup())
    return current_group()


def broadcast_job(verb: str, config: DictConfig) -> SingleProcess:
    """Join the other ranks, if there are any, and send them rank 0's command; the other ranks have received it.

    Raises:
        UsageError: the configuration does not fit the number of processes.
    """
    processes.check_strategy(config.trainer)
    group = join_group()
    if group.world_size > 1 and group.rank == 0:
        container: Any = OmegaConf.to_container(config)  # interpolations are resolved with the data, as on this rank
        group.broadcast((verb, container))
    return group


def leave_after_barrier() -> None:
    """Wait for all ranks, then leave the group."""
    if current_group().world_size > 1:
        dist.barrier()
        dist.destroy_process_group()
        leave_group()
