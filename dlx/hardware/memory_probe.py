"""How much memory a device has left, and how much a piece of work took of it."""

import contextlib
import gc
from pathlib import Path

import torch

KIB = 1024
# Limits of a container: the second file of each pair tells what is used of the first one's.
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


class Room:
    """What is free on a device now, and the most that was taken of it since.

    Args:
        device: whose memory.

    Attributes:
        free: bytes that may be taken; None where the system does not tell.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.free: int | None = None
        self.clear()
        self.held = self._held()
        self.free = self._free()

    def clear(self) -> None:
        """Give back what nobody uses, and forget how much was taken."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        else:
            _forget_peak()

    def taken(self) -> int:
        """Bytes at the peak since `clear`, beyond what was held at the beginning."""
        return max(self._peak() - self.held, 0)

    def _held(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        if self.device.type == "mps":
            return torch.mps.driver_allocated_memory()
        return _status("VmRSS") or 0

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        # Apple's driver tells no peak; what it holds includes what torch keeps for later, which is as good.
        return torch.mps.driver_allocated_memory() if self.device.type == "mps" else _status("VmHWM") or 0

    def _free(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        if self.device.type == "mps":
            return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        found = [_field("/proc/meminfo", "MemAvailable"), *(_left(limit, used) for limit, used in LIMITS)]
        return min((value for value in found if value is not None), default=None)


def _status(name: str) -> int | None:
    return _field("/proc/self/status", name)


def _field(path: str, name: str) -> int | None:
    """Bytes of a line such as `VmRSS:   1234 kB`."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return KIB * int(line.split()[1])
    return None


def _left(limit: str, used: str) -> int | None:
    try:
        return max(int(Path(limit).read_text()) - int(Path(used).read_text()), 0)
    except (OSError, ValueError):  # no such limit, or `max`
        return None


def _forget_peak() -> None:
    """Let VmHWM begin anew at what the process holds (man 5 proc, clear_refs)."""
    with contextlib.suppress(OSError):  # not Linux, or not allowed: an earlier peak counts as this one's
        Path("/proc/self/clear_refs").write_text("5")
