"""The contract of a procedure: see a batch, maybe learn; finish a pass, maybe learn."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric, list_declared
from dlx.procedures.loss_scale import LossScale
from dlx.tasks.task import Task


class Procedure(ABC):
    """One way of learning. The trainer's loop knows nothing else of it.

    `requires` is the Protocol (or class) that a model must satisfy, checked once, when bound. `shuffle` says
    whether the training examples come in a new order at each pass. `by_batches` says whether each batch is learned
    from, so that its size matters. `one_pass` says that it is done after the first pass. `distributes` says whether
    several processes can learn together, each from its share of the examples, `shards` whether each may keep but a
    part of the parameters, and `apart` names what of its state each of them has for itself. `done` says that
    another pass would change nothing. `pretraining_epochs` counts the passes, beside trainer.epochs, that come
    first: nothing is judged by them.
    """

    requires: ClassVar[type] = nn.Module
    shuffle: ClassVar[bool] = True
    by_batches: ClassVar[bool] = True
    distributes: ClassVar[bool] = False
    shards: ClassVar[bool] = False
    apart: ClassVar[tuple[str, ...]] = ()
    declares: ClassVar[tuple[str | Metric, ...]] = ("steps_per_second",)  # which the loop adds
    one_pass: ClassVar[bool] = False
    done: bool = False
    pretraining_epochs: int = 0  # known once bound
    strategy: str | None = None  # of several processes, set by the trainer
    scaler: LossScale | None = None  # set by the trainer for float16, whose gradients underflow

    model: nn.Module
    task: Task

    def bind(self, model: nn.Module, task: Task) -> None:
        """Take the model and the task; procedures make their optimizers here.

        Raises:
            UsageError: the model lacks what the procedure or the task requires.
        """
        if not isinstance(model, self.requires):
            wanted = [name for name in vars(self.requires) if not name.startswith("_")]
            raise UsageError(
                f"procedure {type(self).__name__} was given the model {type(model).__name__}; needed: a model with "
                f"{', '.join(wanted) or self.requires.__name__}; type another procedure= (dlx list procedures), "
                f"or leave it out to use the model's own"
            )
        task.validate_model(model)
        self.model, self.task = model, task

    def list_untrained(self) -> set[str]:
        """Return the names of the model's parameters that nothing here changes, though they are not frozen."""
        return set()

    def list_metrics(self) -> tuple[Metric, ...]:
        """Return what the procedure declares, and those within it."""
        return list_declared(type(self))

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """See one batch. Returns detached scalars that nobody has synchronised yet."""

    def takes(self, group: str) -> bool:
        """Return whether it has a use for the run's `optimizer`, or its `scheduler`."""
        return group in inspect.signature(type(self).__init__).parameters

    def end_epoch(self) -> dict[str, Tensor]:
        """Finish a pass over the training split."""
        return {}

    def on_validation_end(self, metrics: dict[str, float]) -> None:  # noqa: B027 - a hook that most have no use for
        """Take the validation metrics, after each validation: a schedule may wait for them."""

    def pop_notices(self) -> list[str]:
        """Return what the user should know at once, each line once: a collapse, memory that ran out."""
        return []

    def run_metadata(self) -> dict[str, Any]:
        """Return what run.json should keep about how the training went."""
        return {}

    def pictures(self) -> dict[str, Tensor]:
        """Draw pictures of the pass just finished, name to (channels, height, width) in [0, 1]; none by default."""
        return {}

    def performance_hint(self, steps: int) -> str | None:  # noqa: B027 - a hook that most have no use for
        """Return what would make a run of so many steps faster, shown before it starts; None for nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs beside the model: tensors, numbers, strings, lists and dicts only."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.done = state["done"]
