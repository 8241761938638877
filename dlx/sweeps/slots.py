"""Where jobs run at once on this machine: one slot for each GPU, or for each share of the processor's cores."""

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """What one worker process sees of the machine.

    Args:
        threads: that it may keep busy.
        gpu: what CUDA_VISIBLE_DEVICES is to be; None leaves it as it is.
    """

    threads: int
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        """Variables for the worker, to be set before it imports torch."""
        share = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return share if self.gpu is None else {**share, "CUDA_VISIBLE_DEVICES": self.gpu}


def slots(jobs: int | None, device: str = "auto") -> list[Slot]:
    """The slots of this machine.

    Args:
        jobs: how many; None for one a GPU, or one a core where there is no GPU.
        device: `trainer.device` of the jobs; GPUs are shared out for auto and cuda only.
    """
    here = cores()
    found = gpus() if device in ("auto", "cuda") else []
    number = jobs or len(found) or here
    threads = max(here // number, 1)
    return [Slot(threads, found[i % len(found)] if found else None) for i in range(number)]


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes; torch is not imported."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        told = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(n) for n, _ in enumerate(line for line in told.stdout.splitlines() if line.startswith("GPU "))]
