"""Find out and report which process of a group failed, and why."""

import contextlib
import json
import os
import platform
import re
import time
import traceback
from pathlib import Path
from typing import Any

import torch.distributed as dist

from dlx.errors import DlxError

FAILURE_KEY = "dlx/failed"
PATIENCE = 3.0  # seconds to wait for the report of a rank that failed
# Messages of gloo, NCCL and torch's store about a peer that is gone.
LOST_PEER_MESSAGES = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|process group.*abort", re.IGNORECASE
)


class Failures:
    """The report of the first rank that fails, in torchrun's store, which outlives the rank.

    Args:
        store: shared by all ranks.
        rank, world_size: of this process.
    """

    def __init__(self, store: Any, rank: int, world_size: int) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size
        store.set(f"dlx/process/{rank}", json.dumps([platform.node(), os.getpid()]))

    def report(self, error: Exception) -> None:
        """Report this rank's error, unless another rank has reported one."""
        self._post(f"rank {self.rank} failed: {describe_error(error)}")

    def find_cause(self, error: BaseException) -> str:
        """Return why a collective failed: another rank's report, or which rank is dead."""
        until = time.monotonic() + PATIENCE
        cause = None
        while cause is None and time.monotonic() < until:
            cause = self._read_report() or self._find_dead_rank()
            time.sleep(0.05)
        if cause:
            self._post(cause)  # ranks that fail because this one exits should report the first cause, not this rank
        lines = str(error).splitlines() or [type(error).__name__]
        return f"{cause or f'the connection to another process was lost: {lines[0][:200]}'}; the run can be resumed"

    def _post(self, text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone with the rank that held it
            self.store.compare_set(FAILURE_KEY, "", text)

    def _read_report(self) -> str | None:
        try:
            return self.store.get(FAILURE_KEY).decode() if self.store.check([FAILURE_KEY]) else None
        except RuntimeError:
            return None

    def _find_dead_rank(self) -> str | None:
        for rank in range(self.world_size):
            try:
                host, pid = json.loads(self.store.get(f"dlx/process/{rank}"))
            except RuntimeError:
                return None
            if host == platform.node() and _is_gone(pid) and not self._read_report():
                return f"rank {rank} died (process {pid} on {host}): killed, or out of memory"
        return None


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def is_lost_rank(error: BaseException) -> bool:
    """Return whether an error says that another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and LOST_PEER_MESSAGES.search(str(error)) is not None


def describe_error(error: BaseException) -> str:
    """Return an error in one line, with its file and line unless it is one of dlx's own for the user."""
    if isinstance(error, DlxError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({frame[0].filename}:{frame[0].lineno})" if frame else ""
    text = (str(error).splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {text}{place}"
