"""`trainer.batch=auto`: the largest batch that fits into memory, as long as size makes training faster.

Beyond some size a step takes as much longer as it holds more examples. A larger batch then brings no speed, and fewer
updates an epoch, so the search ends there even where memory would do.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from dlx.batch import Batch
from dlx.errors import TrainingError
from dlx.hardware.memory_probe import Room
from dlx.hardware.out_of_memory import exhausted, release
from dlx.hardware.random_state import get_random_state, set_random_state
from dlx.procedures.procedure import Procedure

FIRST = 8  # batch normalization needs two examples, and fewer tell nothing of speed
HEADROOM = 0.85  # part of the free memory that a step may take
GAIN = 1.05  # examples a second, over the best so far, that make a larger batch worth its size
PATIENCE = 2  # sizes in a row without that gain: a noisy machine may spoil one
ENOUGH = 0.25  # seconds of steps that are measured at each size
STEPS = 3  # that are measured at least
USUAL = 64  # conf/trainer/default.yaml's, which optimizers' rates are written for

Learner = tuple[nn.Module, Procedure, Batch]


class Found(NamedTuple):
    """A batch size, and how it was found."""

    size: int
    ended: Literal["memory", "speed", "examples"]  # what kept the search from going on
    rates: dict[int, float]  # examples a second, by size

    def about(self) -> dict[str, Any]:
        """For run.json."""
        rates = {str(size): round(rate, 1) for size, rate in self.rates.items()}
        return {"batch": {"size": self.size, "ended": self.ended, "examples_per_second": rates}}

    def __str__(self) -> str:
        larger = {
            "memory": "twice as many do not fit into memory",
            "speed": "larger ones are no faster",
            "examples": "all there are",
        }[self.ended]
        text = f"trainer.batch=auto: {self.size}, {self.rates[self.size]:,.0f} examples a second ({larger})"
        if self.size == USUAL:
            return text
        ratio = self.size / USUAL
        return (
            f"{text}\nthe learning rate stays as it is: one that suits batches of {USUAL} is often multiplied by "
            f"{ratio:.3g} for SGD, by {ratio**0.5:.3g} for Adam (optimizer.lr=…)"
        )


def search(
    make: Callable[[int], Learner],
    examples: int,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]],
    warm: int = 2,
) -> Found:
    """Try sizes on copies; the random state is left as it was.

    Args:
        make: a model, a procedure bound to it and a batch of that size, all to be thrown away.
        examples: of the training split.
        device: whose memory counts.
        precision: the context of a step.
        warm: steps before the measured ones; the first update makes the optimizer's state.

    Raises:
        TrainingError: not even a single example fits.
    """
    state, room = get_random_state(), Room(device)

    def measure(size: int) -> tuple[float, int] | None:
        room.clear()
        try:
            with precision():
                rate = _rate(make(size), warm)
        except RuntimeError as error:
            if not exhausted(error):
                raise
            rate = None
        taken = room.taken()
        release()
        return None if rate is None or (room.free is not None and taken > room.free) else (rate, taken)

    try:
        return largest(measure, examples, room.free)
    finally:
        set_random_state(state)
        room.clear()


def largest(measure: Callable[[int], tuple[float, int] | None], examples: int, free: int | None) -> Found:
    """The smallest size that is as fast as any that fits.

    Args:
        measure: examples a second with batches of that size, and the bytes that a step takes; None if it does not fit.
        examples: no batch is larger.
        free: bytes; None for no limit.

    Raises:
        TrainingError: `measure` gives None even for one example.
    """
    rates: dict[int, float] = {}
    taken: dict[int, int] = {}
    ended: Literal["memory", "speed", "examples"] = "examples"
    best, idle = 0.0, 0
    for size in _sizes(examples):
        if free is not None and _forecast(taken, size) > HEADROOM * free:
            ended = "memory"
            break
        found = measure(size)
        if found is None:
            ended = "memory"
            break
        rates[size], taken[size] = found
        idle = 0 if rates[size] > GAIN * best else idle + 1
        best = max(best, rates[size])
        if idle == PATIENCE:
            ended = "speed"
            break
    if not rates:
        return _smaller(measure, min(FIRST, examples))
    size = min(size for size, rate in rates.items() if GAIN * rate >= best)
    return Found(size, ended if size == max(rates) else "speed", rates)


def _sizes(examples: int) -> Iterator[int]:
    """8, 16, 32, … and at last all examples."""
    size = FIRST
    while size < examples:
        yield size
        size *= 2
    yield examples


def _smaller(measure: Callable[[int], tuple[float, int] | None], size: int) -> Found:
    while size > 1:
        size //= 2
        found = measure(size)
        if found is not None:
            return Found(size, "memory", {size: found[0]})
    raise TrainingError(
        "memory does not suffice for a single example; what helps, in this order: trainer.precision=bf16, a smaller "
        "model or smaller examples, trainer.device=cpu"
    )


def _forecast(taken: dict[int, int], size: int) -> float:
    """Bytes of a step with `size` examples, along the line through the last two sizes, or through zero and the last."""
    if not taken:
        return 0
    last = max(taken)
    before = max((other for other in taken if other < last), default=0)
    slope = max(taken[last] - taken.get(before, 0), 0) / (last - before)
    return taken[last] + slope * (size - last)


def _rate(learner: Learner, warm: int) -> float | None:
    """Examples a second, of the fastest step: a slower one was disturbed. None where memory did not do."""
    model, procedure, batch = learner
    model.train()
    times: list[float] = []
    while len(times) < warm + STEPS or sum(times[warm:]) < ENOUGH:
        started = time.perf_counter()
        for value in procedure.step(batch).values():
            value.item()  # waits for the device
        times.append(time.perf_counter() - started)
        if "micro_batch" in procedure.run_metadata():  # it went on in parts
            return None
    return len(batch.x) / min(times[warm:])
