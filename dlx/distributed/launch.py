"""`trainer.processes`: start several processes on this machine, as torchrun does."""

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.hardware import processes


def count_processes_to_launch(trainer: Mapping[str, Any]) -> int:
    """Return how many processes to start and wait for; 1 if this process is one of a group, or the only one.

    Args:
        trainer: the configuration's `trainer`.

    Raises:
        UsageError: several processes without a strategy.
    """
    count, strategy = trainer.get("processes", "auto"), trainer.get("strategy")
    if processes.world_size() > 1:
        return 1
    if not strategy:
        if count in ("auto", 1):
            return 1
        raise UsageError(
            f"trainer.processes={count} was given, and trainer.strategy is null; needed: a strategy by which they "
            f"train together; type trainer=ddp trainer.processes={count}"
        )
    if count != "auto":
        return int(count)
    if trainer.get("device") not in ("auto", "cuda"):
        return 1
    import torch

    return max(torch.cuda.device_count(), 1)


def launch(words: Sequence[str], count: int) -> int:
    """Run `dlx WORDS` in `count` processes, as `torchrun --standalone` does, and return the exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("", ".agent.server.api"):  # the ranks report errors; the agent's logger has a level of its own
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    home = str(Path(__file__).resolve().parents[2])  # where dlx is found, installed or not
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), home]))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does; trainer.threads overrides it
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        # -P: with -m alone Python would look for modules in the working directory first, whoever wrote them.
        elastic_launch(config, sys.executable)("-P", "-m", "dlx", *words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 1
    except SignalException:
        return 130
    return 0
