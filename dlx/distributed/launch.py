"""`trainer.processes`: dlx starts torchrun by itself, on one machine."""

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dlx.errors import UsageError
from dlx.hardware import processes


def wanted(trainer: Mapping[str, Any]) -> int:
    """How many processes this one should start and wait for; 1 where it is itself one of them, or the only one.

    Raises:
        UsageError: several, and no strategy by which they would learn together.
    """
    count, strategy = trainer.get("processes", "auto"), trainer.get("strategy")
    if processes.world() > 1:
        return 1
    if not strategy:
        if count in ("auto", 1):
            return 1
        raise UsageError(
            f"trainer.processes={count} was given, and trainer.strategy is null; needed: one by which they learn "
            f"together; type trainer=ddp trainer.processes={count}"
        )
    if count != "auto":
        return int(count)
    if trainer.get("device") not in ("auto", "cuda"):
        return 1
    import torch

    return max(torch.cuda.device_count(), 1)


def launch(words: Sequence[str], count: int) -> int:
    """Run `dlx WORDS` in so many processes, as `torchrun --standalone` does. Returns the exit code."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("", ".agent.server.api"):  # what went wrong is told by the ranks; the agent's has a level of its own
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun; trainer.threads decides in the end
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
        elastic_launch(config, sys.executable)("-m", "dlx", *words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 1
    except SignalException:
        return 130
    return 0
