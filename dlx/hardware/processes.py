"""Which of how many processes this is, as torchrun tells it. Nothing here imports torch."""

import os
from collections.abc import Mapping
from typing import Any

from dlx.errors import UsageError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def world() -> int:
    """How many processes there are, on all machines; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in NEEDED) else 1


def rank() -> int:
    """The number of this one; the first, 0, is the one that composes, writes and tells."""
    return int(os.environ["RANK"]) if world() > 1 else 0


def local() -> int:
    """Its number on this machine, by which it takes its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0)) if world() > 1 else 0


def here() -> int:
    """How many there are on this machine, which share its processor."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if world() > 1 else 1


def check(trainer: Mapping[str, Any], multirun: bool = False) -> None:
    """Whether a configuration is one for as many processes as there are.

    Raises:
        UsageError: it is not.
    """
    strategy = trainer.get("strategy")
    if multirun and (strategy or world() > 1):
        raise UsageError(
            f"a sweep was given with {f'trainer.strategy={strategy}' if strategy else 'torchrun'}; needed: a single "
            "run; type one value for each key, or trainer=default for jobs of one process each"
        )
    if world() > 1 and not strategy:
        raise UsageError(
            f"torchrun started {world()} processes, and trainer.strategy is null; needed: one by which they learn "
            "together; type trainer=ddp, or leave torchrun out"
        )
