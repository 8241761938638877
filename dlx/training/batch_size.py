"""`trainer.batch=auto`: find the largest batch that fits into memory and still makes training faster.

Beyond some size the time of a step grows in proportion to its examples. A larger batch then brings no speed and fewer
updates an epoch, so the search ends there even where memory would suffice.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from dlx.batch import Batch
from dlx.errors import TrainingError
from dlx.hardware.memory_probe import MemoryProbe
from dlx.hardware.out_of_memory import empty_cache, is_out_of_memory
from dlx.hardware.random_state import get_random_state, set_random_state
from dlx.procedures.procedure import Procedure

FIRST_SIZE = 8  # batch normalization needs two examples, and fewer than eight say nothing about speed
HEADROOM = 0.85  # share of the free memory that a step may take
MIN_SPEEDUP = 1.05  # ratio to the best examples a second so far that makes a larger batch worth its size
PATIENCE = 2  # sizes in a row without that speed-up: a noisy machine may spoil one
MIN_SECONDS = 0.25  # of measured steps at each size
MIN_STEPS = 3  # measured at each size
DEFAULT_SIZE = 64  # conf/trainer/default.yaml's, for which the optimizers' learning rates are chosen

Learner = tuple[nn.Module, Procedure, Batch]


class BatchSizeResult(NamedTuple):
    """A batch size, what limited it, and the measured speeds."""

    size: int
    limited_by: Literal["memory", "speed", "examples"]  # what ended the search
    rates: dict[int, float]  # examples a second, by size

    def run_metadata(self) -> dict[str, Any]:
        """Return the entry of run.json."""
        rates = {str(size): round(rate, 1) for size, rate in self.rates.items()}
        return {"batch": {"size": self.size, "ended": self.limited_by, "examples_per_second": rates}}

    def __str__(self) -> str:
        larger = {
            "memory": "twice as many do not fit into memory",
            "speed": "larger ones are no faster",
            "examples": "all there are",
        }[self.limited_by]
        text = f"trainer.batch=auto: {self.size}, {self.rates[self.size]:,.0f} examples a second ({larger})"
        if self.size == DEFAULT_SIZE:
            return text
        ratio = self.size / DEFAULT_SIZE
        return (
            f"{text}\nthe learning rate is unchanged: one that suits batches of {DEFAULT_SIZE} is often multiplied by "
            f"{ratio:.3g} for SGD, by {ratio**0.5:.3g} for Adam (optimizer.lr=…)"
        )


def find_batch_size(
    make: Callable[[int], Learner],
    examples: int,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]],
    warm: int = 2,
) -> BatchSizeResult:
    """Find the batch size for training on a device, on copies of the model; the random state is restored.

    Args:
        make: returns a model, a procedure bound to it and a batch of the given size, all to be thrown away.
        examples: in the training split.
        device: whose memory and speed are measured.
        precision: makes the context of a step.
        warm: steps before the measured ones; the first update allocates the optimizer's state.

    Raises:
        TrainingError: not even a single example fits.
    """
    state, probe = get_random_state(), MemoryProbe(device)

    def measure(size: int) -> tuple[float, int] | None:
        probe.reset()
        try:
            with precision():
                rate = _measure_rate(make(size), warm)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            rate = None
        taken = probe.peak_bytes()
        empty_cache()
        return None if rate is None or (probe.free is not None and taken > probe.free) else (rate, taken)

    try:
        return search_sizes(measure, examples, probe.free)
    finally:
        set_random_state(state)
        probe.reset()


def search_sizes(
    measure: Callable[[int], tuple[float, int] | None], examples: int, free: int | None
) -> BatchSizeResult:
    """Search for the smallest size that is as fast as any that fits.

    Args:
        measure: returns the examples a second with batches of a size and the bytes that a step takes; None if it does
            not fit.
        examples: the largest size.
        free: bytes; None for no limit.

    Raises:
        TrainingError: `measure` returns None even for one example.
    """
    rates: dict[int, float] = {}
    taken: dict[int, int] = {}
    limited_by: Literal["memory", "speed", "examples"] = "examples"
    best, without_gain = 0.0, 0
    for size in _candidate_sizes(examples):
        if free is not None and _predict_bytes(taken, size) > HEADROOM * free:
            limited_by = "memory"
            break
        measured = measure(size)
        if measured is None:
            limited_by = "memory"
            break
        rates[size], taken[size] = measured
        without_gain = 0 if rates[size] > MIN_SPEEDUP * best else without_gain + 1
        best = max(best, rates[size])
        if without_gain == PATIENCE:
            limited_by = "speed"
            break
    if not rates:
        return _search_below(measure, min(FIRST_SIZE, examples))
    size = min(size for size, rate in rates.items() if MIN_SPEEDUP * rate >= best)
    return BatchSizeResult(size, limited_by if size == max(rates) else "speed", rates)


def _candidate_sizes(examples: int) -> Iterator[int]:
    """Yield 8, 16, 32, … and at last all examples."""
    size = FIRST_SIZE
    while size < examples:
        yield size
        size *= 2
    yield examples


def _search_below(measure: Callable[[int], tuple[float, int] | None], size: int) -> BatchSizeResult:
    """Halve a size that does not fit until it does."""
    while size > 1:
        size //= 2
        measured = measure(size)
        if measured is not None:
            return BatchSizeResult(size, "memory", {size: measured[0]})
    raise TrainingError(
        "memory does not suffice for a single example; what helps, in this order: trainer.precision=bf16, a smaller "
        "model or smaller examples, trainer.device=cpu"
    )


def _predict_bytes(taken: dict[int, int], size: int) -> float:
    """Extrapolate the bytes of a step with `size` examples along the line through the last two sizes (or zero)."""
    if not taken:
        return 0
    last = max(taken)
    before = max((other for other in taken if other < last), default=0)
    slope = max(taken[last] - taken.get(before, 0), 0) / (last - before)
    return taken[last] + slope * (size - last)


def _measure_rate(learner: Learner, warm: int) -> float | None:
    """Return the examples a second of the fastest step (a slower one was disturbed); None where memory ran out."""
    model, procedure, batch = learner
    model.train()
    times: list[float] = []
    while len(times) < warm + MIN_STEPS or sum(times[warm:]) < MIN_SECONDS:
        started = time.perf_counter()
        for value in procedure.step(batch).values():
            value.item()  # waits for the device
        times.append(time.perf_counter() - started)
        if "micro_batch" in procedure.run_metadata():  # it went on in parts
            return None
    return len(batch.x) / min(times[warm:])
