"""Read this process's rank and the number of processes from torchrun's variables, without importing torch."""

import os
from collections.abc import Mapping
from typing import Any

from dlx.errors import UsageError

TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def world_size() -> int:
    """Return the number of processes on all machines; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in TORCHRUN_VARIABLES) else 1


def rank() -> int:
    """Return this process's rank; rank 0 composes the configuration, writes files and prints."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def local_rank() -> int:
    """Return this process's number on its machine, by which it takes its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0)) if world_size() > 1 else 0


def local_world_size() -> int:
    """Return the number of processes on this machine, which share its processor."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if world_size() > 1 else 1


def check_strategy(trainer: Mapping[str, Any], multirun: bool = False) -> None:
    """Refuse a configuration that does not fit the number of processes.

    Args:
        trainer: the configuration's `trainer`.
        multirun: it is a sweep's.

    Raises:
        UsageError: several processes without a strategy, or a sweep with several processes or a strategy.
    """
    strategy = trainer.get("strategy")
    if multirun and (strategy or world_size() > 1):
        raise UsageError(
            f"a sweep was given with {f'trainer.strategy={strategy}' if strategy else 'torchrun'}; needed: a single "
            "run; type one value for each key, or trainer=default for jobs of one process each"
        )
    if world_size() > 1 and not strategy:
        raise UsageError(
            f"torchrun started {world_size()} processes, and trainer.strategy is null; needed: a strategy by which "
            "they train together; type trainer=ddp, or leave torchrun out"
        )
