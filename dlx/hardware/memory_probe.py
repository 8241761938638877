"""Measure a device's free memory and the peak of a piece of work."""

import contextlib
import gc
from pathlib import Path

import torch

KIB = 1024
# A container's limits: pairs of the file with the limit and the file with what is used.
CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


class MemoryProbe:
    """A device's free memory at construction, and the peak of what is allocated afterwards.

    Args:
        device: whose memory is measured.

    Attributes:
        free: bytes that may be allocated; None where the system does not say.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.free: int | None = None
        self.reset()
        self.baseline = self._current()
        self.free = self._free()

    def reset(self) -> None:
        """Release cached memory and reset the peak."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        else:
            _reset_peak()

    def peak_bytes(self) -> int:
        """Return the peak since `reset`, in bytes above what was allocated at construction."""
        return max(self._peak() - self.baseline, 0)

    def _current(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        if self.device.type == "mps":
            return torch.mps.driver_allocated_memory()
        return _read_process_status("VmRSS") or 0

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        # Apple's driver reports no peak; what it holds includes torch's cache, which is as good.
        return torch.mps.driver_allocated_memory() if self.device.type == "mps" else _read_process_status("VmHWM") or 0

    def _free(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        if self.device.type == "mps":
            return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        limits = [_read_field("/proc/meminfo", "MemAvailable"), *(_read_limit_left(*files) for files in CGROUP_LIMITS)]
        return min((limit for limit in limits if limit is not None), default=None)


def _read_process_status(name: str) -> int | None:
    return _read_field("/proc/self/status", name)


def _read_field(path: str, name: str) -> int | None:
    """Return the bytes of a line such as `VmRSS:   1234 kB`; None if there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return KIB * int(line.split()[1])
    return None


def _read_limit_left(limit: str, used: str) -> int | None:
    try:
        return max(int(Path(limit).read_text()) - int(Path(used).read_text()), 0)
    except (OSError, ValueError):  # no such limit, or `max`
        return None


def _reset_peak() -> None:
    """Reset VmHWM to what the process holds now (man 5 proc, clear_refs)."""
    with contextlib.suppress(OSError):  # not Linux, or not permitted: an earlier peak counts as this one's
        Path("/proc/self/clear_refs").write_text("5")
