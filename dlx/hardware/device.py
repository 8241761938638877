"""Choose the device, its precision, threads and matrix-product kernels."""

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from dlx.errors import UsageError
from dlx.hardware import processes


def select_device(name: str) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps.

    Raises:
        UsageError: this machine has no such device; the message lists those that it has.
    """
    present = available_devices()
    several = processes.local_world_size() > 1  # on this machine: each takes the GPU of its local rank
    if name == "auto" and not (several and present[-1].startswith("cuda")):
        return torch.device(present[-1].split(":")[0] if present[-1].startswith("cuda") else present[-1])
    if several and name == "cuda:0":
        name = "cuda"
    wanted = f"cuda:{processes.local_rank()}" if name in ("auto", "cuda") else name
    if wanted not in present and several and len(present) > 1:
        raise UsageError(
            f"{processes.local_world_size()} processes were started on a machine with {torch.cuda.device_count()} "
            "GPUs; needed: one GPU for each process; type --nproc-per-node with the number of GPUs, "
            "or trainer.device=cpu"
        )
    if wanted not in present:
        raise UsageError(
            f"trainer.device={name} was given; this machine has {', '.join(present)}; "
            f"type trainer.device={present[-1]} or trainer.device=auto"
        )
    return torch.device(name)


def available_devices() -> list[str]:
    """Return the names of this machine's devices, the best one last."""
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.append("mps")
    names += [f"cuda:{n}" for n in reversed(range(torch.cuda.device_count()))]
    return names


def choose_threads(wanted: int | Literal["auto"], work: float) -> int:
    """Set and return the number of threads for steps of `work` multiply-adds each.

    Two threads made a 64-32-10 network of batch 32 (0.08 M) 1.3 times slower and a 784-256-256-10 one of batch 64
    (34 M) 1.5 times faster, and LeNet-5 of batch 64 (4 M) 1.6 times.
    """
    count = wanted if wanted != "auto" else 1 if work < 2e6 else max(_count_cores() // processes.local_world_size(), 1)
    torch.set_num_threads(count)
    return count


def _count_cores() -> int:
    """Return how many cores this process may use: all that it is allowed on, at most OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores


def choose_matmul_precision(
    wanted: Literal["auto", "highest", "high", "medium"], model: nn.Module, batch: int, device: torch.device
) -> str:
    """Set and return torch's precision of float32 matrix products.

    On AMD processors MKL's kernels run at half speed; torch's "medium" uses oneDNN's, at the same accuracy (relative
    error 4e-7) unless the processor has AMX, where oneDNN may compute in bfloat16. Small products get slower: the
    crossover lies near 2.4 MFLOP a product.

    On a GPU all but "highest" round the factors to TF32's ten bits, in matrix products and in convolutions; "auto"
    keeps torch's default, which does so in convolutions alone.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = wanted != "highest"
    if wanted == "auto" and device.type != "cpu":
        wanted = "highest"
    elif wanted == "auto":
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}  # looked up, not multiplied
        matrices = (p for p in model.parameters() if p.ndim == 2 and id(p) not in tables)
        products = (2 * batch * p.numel() for p in matrices)
        wanted = "medium" if max(products, default=0) > 2.4e6 and _is_amd_without_amx() else "highest"
    torch.set_float32_matmul_precision(wanted)
    return wanted


def _is_amd_without_amx() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "AuthenticAMD" in text and "amx_tile" not in text


def apply_channels_last(wanted: bool | Literal["auto"], model: nn.Module, device: torch.device, precision: str) -> bool:
    """Convert a model's convolutions to the memory format (batch, height, width, channels), and say whether it was.

    Only the weights are converted: every convolution then computes and returns its output in that format. A step took
    0.74-0.87 of the time on a processor in float32, 0.74-0.99 in bfloat16; on a GPU the half-precision kernels want it.
    """
    if wanted == "auto":
        is_faster = device.type == "cpu" or (device.type == "cuda" and precision != "32")
        wanted = is_faster and any(isinstance(module, nn.Conv2d) for module in model.modules())
    if wanted:
        model.to(memory_format=torch.channels_last)
    return bool(wanted)


def choose_cudnn_benchmark(model: nn.Module, device: torch.device) -> bool:
    """Let cuDNN time its algorithms on the first batch of each shape and keep the fastest, for convolutions on a GPU.

    Images have one size, so this happens for a few batches only: training's, its last one and evaluation's. Sequences
    come in many lengths, each of which would be timed. Two runs may pick different algorithms, which round differently.
    """
    on = device.type == "cuda" and any(isinstance(module, nn.Conv2d) for module in model.modules())
    torch.backends.cudnn.benchmark = on
    return on


def autocast(device: torch.device, precision: Literal["32", "bf16", "16"]) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a step or an evaluation runs."""
    if precision == "32":
        return contextlib.nullcontext()
    # Without the cache: autocast keeps each weight's low-precision copy until the context ends, so every step of a pass
    # would compute with the weights of its first.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)
