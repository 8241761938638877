"""What the processes of one run exchange. Without torchrun there is one, and nothing is exchanged.

Every rank does the same at the same time: it builds the same parts, walks through the same steps and epochs, and
measures the same splits, each its own share of the examples. Only the first writes and tells.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn

from dlx.hardware import processes
from dlx.hardware.signals import Interrupt

T = TypeVar("T")
Gradients = Any  # a tensor for each parameter, None where the loss does not reach it


class Alone:
    """The group of a single process: everything is here already."""

    rank, world = 0, 1
    counts = True  # what is here of this step; not what other ranks see too
    part = 1.0  # of this step's examples, which are here

    def portion(self, examples: int) -> tuple[int, int]:
        """Which of so many examples of a step are this rank's: those from … to …."""
        return 0, examples

    def together(self, act: Callable[[], T]) -> T:
        """What each rank does by itself and may fail at; one that fails stops all of them, before the next exchange."""
        return act()

    def first(self, value: T) -> T:
        """The first rank's value."""
        return value

    def of_first(self, act: Callable[[], T]) -> T:
        """What the first rank makes, while the others wait. It does so as if it were alone."""
        return act()

    def each(self, value: T) -> list[T]:
        """Every rank's value, in their order."""
        return [value]

    def in_turn(self, act: Callable[[], None]) -> None:
        """The first process of each machine acts before the others there, who find what it has downloaded."""
        act()

    def weigh(self, loss: Tensor) -> Tensor:
        """A rank's mean loss, 0-d, as its part of the loss over all examples of the step."""
        return loss

    def added(self, gradients: Gradients) -> Gradients:
        """The sums over the ranks of gradients of weighed losses."""
        return gradients

    def averaged(self, gradients: Gradients) -> Gradients:
        """The gradient over all examples of the step, of those over each rank's."""
        return gradients

    def summed(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks, by name."""
        return values

    def any(self, flags: Tensor) -> Tensor:
        """Which of the flags are set anywhere."""
        return flags

    def weighed(self, step: Callable[[Any], dict[str, Tensor]]) -> Callable[[Any], dict[str, Tensor]]:
        """A procedure's step whose values, averaged over the ranks, are those of the whole batch."""
        return step

    def heard(self, interrupt: Interrupt, step: int) -> bool:
        """Whether to stop after this step."""
        return bool(interrupt)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """The ranks' mean of each number."""
        return list(numbers)

    def begin(self, model: nn.Module, seed: int) -> None:
        """Before the first step: one model, and for each rank its own draws."""

    def align(self, model: nn.Module) -> None:
        """Take the first rank's buffers: those that saw other examples differ."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """The model's state, whole, in plain tensors."""
        return model.state_dict()

    def load(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        model.load_state_dict(state)

    def whole(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """While it lasts, the model's parameters are whole, though each rank may keep but a part of them."""
        return contextlib.nullcontext()

    def apart(self, own: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint keeps of every rank."""
        return {}

    def own(self, content: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """What is this rank's of a checkpoint, of however many ranks it was."""
        return content

    def part_ways(self) -> None:
        """Exchange nothing any more, whatever is still to be written: the others may not be there."""

    def watched(self) -> contextlib.AbstractContextManager[Any]:
        """Say which rank was lost where an exchange fails for that."""
        return contextlib.nullcontext()


_here: Alone = Alone()
_joined = False


def here() -> Alone:
    """The group that this process belongs to."""
    return _here


def joined() -> bool:
    """Whether this process has met the others."""
    return _joined


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """For a while, a process by itself."""
    global _here
    before, _here = _here, Alone()
    try:
        yield
    finally:
        _here = before


def join() -> Alone:
    """Meet the other processes that torchrun started; at a second call nothing happens.

    Raises:
        TrainingError: they do not come.
    """
    global _here, _joined
    if not _joined and processes.world() > 1:
        from dlx.distributed.process_group import Ranks

        _here, _joined = Ranks(), True
    return _here


def part() -> None:
    """From now on, a process by itself."""
    global _here
    _here = Alone()


def leave() -> None:
    """Part from the others, once all are there."""
    if _here.world > 1:
        dist.barrier()
        dist.destroy_process_group()
        part()
