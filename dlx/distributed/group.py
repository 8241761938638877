"""The group of processes of one run and its collectives. Without torchrun it is a single process.

Every rank does the same at the same time: it builds the same parts, goes through the same steps and epochs, and
measures the same splits, each its own share of the examples. Only rank 0 writes files and prints.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from dlx.hardware.signals import Interrupt

T = TypeVar("T")
Gradients = Any  # a tensor for each parameter, None where the loss does not reach it


class SingleProcess:
    """The group of a single process, whose collectives return their arguments; also the interface of all groups."""

    rank, world_size = 0, 1
    owns_examples = True  # whether this rank's examples of the step count; False where another rank counts the same
    fraction = 1.0  # this rank's share of the step's examples

    def local_range(self, examples: int) -> tuple[int, int]:
        """Return the first of this rank's examples of a step and the one after the last."""
        return 0, examples

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        """Call `act` on every rank and return its result; if it fails on one, all raise before the next collective."""
        return act()

    def broadcast(self, value: T) -> T:
        """Return rank 0's value on all ranks."""
        return value

    def broadcast_result(self, act: Callable[[], T]) -> T:
        """Call `act` on rank 0 alone, as a single process, and return its result on all ranks."""
        return act()

    def all_gather(self, value: T) -> list[T]:
        """Return every rank's value, by rank."""
        return [value]

    def local_main_first(self, act: Callable[[], None]) -> None:
        """Call `act` on each machine's first rank before its others, which then find what was downloaded."""
        act()

    def weight_by_examples(self, loss: Tensor) -> Tensor:
        """Return a rank's mean loss, 0-d, times the rank's share of the step's examples."""
        return loss

    def weigh_share(self, weight: float | Tensor) -> float | Tensor:
        """Return the weight of what this rank counts, given that of its examples; over the ranks they add up."""
        return weight

    def sum_weights(self, weight: float | Tensor) -> float | Tensor:
        """Return the sum over the ranks of a weight."""
        return weight

    def sum_gradients(self, gradients: Gradients) -> Gradients:
        """Return the sums over the ranks of the gradients of weighted losses."""
        return gradients

    def average_gradients(self, gradients: Gradients) -> Gradients:
        """Return the gradients over all examples of the step, given those over each rank's."""
        return gradients

    def all_reduce(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums over the ranks, by name."""
        return values

    def any_rank(self, flags: Tensor) -> Tensor:
        """Return which of the flags are set on any rank."""
        return flags

    def weight_values(self, step: Callable[[Any], dict[str, Tensor]]) -> Callable[[Any], dict[str, Tensor]]:
        """Wrap a procedure's step so that its values, averaged over the ranks, are those of the whole batch."""
        return step

    def should_stop(self, interrupt: Interrupt, step: int) -> bool:
        """Return whether all ranks are to stop after this step."""
        return bool(interrupt)

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """Return the mean over the ranks of each number."""
        return list(numbers)

    def sync_parameters(self, model: nn.Module, seed: int) -> None:
        """Copy rank 0's model to all ranks and give each rank its own random numbers, before the first step."""

    def sync_buffers(self, model: nn.Module) -> None:
        """Copy rank 0's buffers to all ranks: ranks that saw other examples have other ones."""

    def state(self, model: nn.Module) -> dict[str, Any]:
        """Return the model's full state in plain tensors."""
        return model.state_dict()

    def load(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Load what `state` returned."""
        model.load_state_dict(state)

    def full_parameters(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Gather the model's full parameters within the context, if each rank keeps only a shard of them."""
        return contextlib.nullcontext()

    def gather_rank_state(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return the entries of a checkpoint that differ between ranks, those of all of them."""
        return {}

    def select_rank_state(self, content: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Return this rank's part of a checkpoint, which may be of another number of ranks."""
        return content

    def disable_collectives(self) -> None:
        """Act as a single process from now on, whatever is still to be written: the others may be gone."""

    def explain_lost_rank(self) -> contextlib.AbstractContextManager[Any]:
        """Name the lost rank in the error of a collective that fails for it."""
        return contextlib.nullcontext()


_current: SingleProcess = SingleProcess()
_joined = False


def current_group() -> SingleProcess:
    """Return the group that this process belongs to."""
    return _current


def set_current_group(group: SingleProcess) -> None:
    """Make `group`, whose processes have met, this process's group."""
    global _current, _joined
    _current, _joined = group, True


def has_joined() -> bool:
    """Return whether this process has met the others."""
    return _joined


@contextlib.contextmanager
def single_process() -> Iterator[None]:
    """Act as a single process within the context."""
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
