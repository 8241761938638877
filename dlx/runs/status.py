"""Whether a run that says it is running still is: a killed process cannot correct its run.json."""

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any


def get_status(about: Mapping[str, Any]) -> str:
    """running, finished, pruned, failed, interrupted, or `lost` for a run whose process is gone.

    Args:
        about: the content of run.json.
    """
    told = str(about.get("status", "unknown"))
    return "lost" if told == "running" and not is_alive(about) else told


def is_alive(about: Mapping[str, Any]) -> bool:
    """Whether the process of a run exists; taken for granted on another host, which cannot be asked."""
    if about.get("host") not in (None, platform.node()):
        return True
    pid = about.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process
    # Numbers are used again: in a container every run may well be process 7. A process that began after the run did
    # is another one. The margin is for the clock's ticks.
    began, since = _process_start(pid), _run_start(about)
    return began is None or since is None or began < since + 2


def _run_start(about: Mapping[str, Any]) -> float | None:
    resumed = about.get("resumed") or []
    told = resumed[-1].get("time") if resumed else about.get("started")
    return datetime.fromisoformat(told).timestamp() if told else None


def _process_start(pid: int) -> float | None:
    """When a process began, in seconds since 1970; None where there is no /proc."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return booted + ticks / os.sysconf("SC_CLK_TCK")
