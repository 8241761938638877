"""What the processes of one run exchange. Without torchrun there is one, and nothing is exchanged.

Every rank does the same at the same time: it builds the same parts, walks through the same steps and epochs, and
measures the same splits, each its own share of the examples. Only the first writes and tells.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from dlx.hardware.signals import Interrupt

T = TypeVar("T")
Gradients = Any  # a tensor for each parameter, None where the loss does not reach it


class SingleProcess:
    """The group of a single process: everything is here already."""

    rank, world = 0, 1
    counts_here = True  # what is here of this step; not what other ranks see too
    fraction = 1.0  # of this step's examples, which are here

    def local_range(self, examples: int) -> tuple[int, int]:
        """Which of so many examples of a step are this rank's: those from … to …."""
        return 0, examples

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        """What each rank does by itself and may fail at; one that fails stops all of them, before the next exchange."""
        return act()

    def broadcast(self, value: T) -> T:
        """The first rank's value."""
        return value

    def broadcast_result(self, act: Callable[[], T]) -> T:
        """What the first rank makes, while the others wait. It does so as if it were alone."""
        return act()

    def all_gather(self, value: T) -> list[T]:
        """Every rank's value, in their order."""
        return [value]

    def local_main_first(self, act: Callable[[], None]) -> None:
        """The first process of each machine acts before the others there, who find what it has downloaded."""
        act()

    def weight_by_examples(self, loss: Tensor) -> Tensor:
        """A rank's mean loss, 0-d, as its part of the loss over all examples of the step."""
        return loss

    def sum_gradients(self, gradients: Gradients) -> Gradients:
        """The sums over the ranks of gradients of weighed losses."""
        return gradients

    def average_gradients(self, gradients: Gradients) -> Gradients:
        """The gradient over all examples of the step, of those over each rank's."""
        return gradients

    def all_reduce(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks, by name."""
        return values

    def any_rank(self, flags: Tensor) -> Tensor:
        """Which of the flags are set anywhere."""
        return flags

    def weight_values(self, step: Callable[[Any], dict[str, Tensor]]) -> Callable[[Any], dict[str, Tensor]]:
        """A procedure's step whose values, averaged over the ranks, are those of the whole batch."""
        return step

    def should_stop(self, interrupt: Interrupt, step: int) -> bool:
        """Whether to stop after this step."""
        return bool(interrupt)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """The ranks' mean of each number."""
        return list(numbers)

    def sync_parameters(self, model: nn.Module, seed: int) -> None:
        """Before the first step: one model, and for each rank its own draws."""

    def sync_buffers(self, model: nn.Module) -> None:
        """Take the first rank's buffers: those that saw other examples differ."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """The model's state, whole, in plain tensors."""
        return model.state_dict()

    def load(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        model.load_state_dict(state)

    def full_parameters(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """While it lasts, the model's parameters are whole, though each rank may keep but a part of them."""
        return contextlib.nullcontext()

    def gather_rank_state(self, own: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint keeps of every rank."""
        return {}

    def select_rank_state(self, content: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """What is this rank's of a checkpoint, of however many ranks it was."""
        return content

    def disable_collectives(self) -> None:
        """Exchange nothing any more, whatever is still to be written: the others may not be there."""

    def explain_lost_rank(self) -> contextlib.AbstractContextManager[Any]:
        """Say which rank was lost where an exchange fails for that."""
        return contextlib.nullcontext()


_current: SingleProcess = SingleProcess()
_joined = False


def current_group() -> SingleProcess:
    """Return the group that this process belongs to."""
    return _current


def set_current_group(group: SingleProcess) -> None:
    """Make this process a member of `group`, which has met."""
    global _current, _joined
    _current, _joined = group, True


def has_joined() -> bool:
    """Return whether this process has met the others."""
    return _joined


@contextlib.contextmanager
def single_process() -> Iterator[None]:
    """Act as a single process for a while."""
    global _current
    before, _current = _current, SingleProcess()
    try:
        yield
    finally:
        _current = before


def leave_group() -> None:
    """Act as a single process from now on."""
    global _current
    _current = SingleProcess()
