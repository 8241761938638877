"""Tell whether a run that claims to be running still is: a killed process cannot correct its run.json."""

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any


def get_status(about: Mapping[str, Any]) -> str:
    """Return running, finished, pruned, failed, interrupted, or `lost` for a run whose process is gone.

    Args:
        about: the content of run.json.
    """
    status = str(about.get("status", "unknown"))
    return "lost" if status == "running" and not is_alive(about) else status


def is_alive(about: Mapping[str, Any]) -> bool:
    """Tell whether the process of a run exists; assumed on another host, which cannot be asked."""
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
    # Process ids are reused: in a container every run may well be process 7. A process that started after the run did
    # is another one. The margin of two seconds is for the clock's ticks.
    process_start, run_start = _process_start(pid), _run_start(about)
    return process_start is None or run_start is None or process_start < run_start + 2


def _run_start(about: Mapping[str, Any]) -> float | None:
    resumed = about.get("resumed") or []
    started = resumed[-1].get("time") if resumed else about.get("started")
    return datetime.fromisoformat(started).timestamp() if started else None


def _process_start(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970; None where there is no /proc."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return booted + ticks / os.sysconf("SC_CLK_TCK")
