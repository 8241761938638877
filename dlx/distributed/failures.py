"""When a process of several is lost, the others find out why."""

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

KEY = "dlx/failed"
PATIENCE = 3.0  # seconds in which a rank that failed may say why
# What gloo, NCCL and torch's store say of a peer that is gone.
GONE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|process group.*abort", re.IGNORECASE)


class Failures:
    """A board on which the first rank that fails says so; the store is torchrun's, and outlives it.

    Args:
        store: of all ranks.
        rank, world: which of how many this is.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.store, self.rank, self.world = store, rank, world
        store.set(f"dlx/process/{rank}", json.dumps([platform.node(), os.getpid()]))

    def tell(self, error: Exception) -> None:
        """Say what happened here, unless another has spoken."""
        self._post(f"rank {self.rank} failed: {describe_error(error)}")

    def cause(self, error: BaseException) -> str:
        """Why an exchange failed: what another rank said, or which one is dead."""
        until = time.monotonic() + PATIENCE
        found = None
        while found is None and time.monotonic() < until:
            found = self._said() or self._dead()
            time.sleep(0.05)
        if found:
            self._post(found)  # those that are lost for this one's going should not name it
        lines = str(error).splitlines() or [type(error).__name__]
        return f"{found or f'the connection to another process was lost: {lines[0][:200]}'}; the run can be resumed"

    def _post(self, text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone with the rank that held it
            self.store.compare_set(KEY, "", text)

    def _said(self) -> str | None:
        try:
            return self.store.get(KEY).decode() if self.store.check([KEY]) else None
        except RuntimeError:
            return None

    def _dead(self) -> str | None:
        for rank in range(self.world):
            try:
                host, pid = json.loads(self.store.get(f"dlx/process/{rank}"))
            except RuntimeError:
                return None
            if host == platform.node() and _gone(pid) and not self._said():
                return f"rank {rank} died (process {pid} on {host}): killed, or out of memory"
        return None


def _gone(pid: int) -> bool:
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
    """Whether an error says that another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and GONE.search(str(error)) is not None


def describe_error(error: BaseException) -> str:
    """An error in one line, with its place where it is not for its user."""
    if isinstance(error, DlxError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({frame[0].filename}:{frame[0].lineno})" if frame else ""
    text = (str(error).splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {text}{place}"
