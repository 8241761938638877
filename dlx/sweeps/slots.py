"""Slots for jobs that run at once on this machine: one for each GPU, or for each share of the processor's cores."""

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """One worker process' share of the machine.

    Args:
        threads: how many it may keep busy.
        gpu: the value for CUDA_VISIBLE_DEVICES; None leaves it as it is.
    """

    threads: int
    gpu: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for the worker, to be set before it imports torch."""
        share = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return share if self.gpu is None else {**share, "CUDA_VISIBLE_DEVICES": self.gpu}


def make_slots(jobs: int | None, device: str = "auto") -> list[Slot]:
    """Divide this machine into slots.

    Args:
        jobs: how many slots; None for one a GPU, or one a core where there is no GPU.
        device: `trainer.device` of the jobs; GPUs are shared out for auto and cuda only.
    """
    n_cores = count_cores()
    devices = list_gpus() if device in ("auto", "cuda") else []
    n_slots = jobs or len(devices) or n_cores
    threads = max(n_cores // n_slots, 1)
    return [Slot(threads, devices[i % len(devices)] if devices else None) for i in range(n_slots)]


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; torch is not imported."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(n) for n, _ in enumerate(line for line in listing.stdout.splitlines() if line.startswith("GPU "))]
