"""One procedure after another in one run: pretraining, then what the pretraining is for."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Unrollable
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.types import Count


class Stages(Procedure):
    """Pretrain for as many passes as that takes, then finish for `trainer.epochs` more.

    Between the two the model's `unroll()` is called, where it has one: weights that were learned in one form are copied
    into another.

    Args:
        pretrain: a procedure that knows its `passes`, such as Greedy.
        finish: makes the procedure that follows; it takes the run's optimizer and scheduler.
        optimizer: of the run.
        scheduler: of the run.
        epochs: passes of `finish`, where these stages are themselves the pretraining of others.
    """

    distributes = True  # where both do

    def __init__(
        self,
        pretrain: Procedure,
        finish: Callable[..., Procedure],
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        epochs: Count | None = None,
    ) -> None:
        self.pretrain: Any = pretrain
        self.finish = finish(optimizer=optimizer, scheduler=scheduler)
        self.epochs = epochs
        self.epoch = 0  # passes finished

    @property
    def passes(self) -> int | None:
        """Passes of both stages, where `epochs` says how many the second takes."""
        return None if self.epochs is None else self.pretraining_epochs + self.epochs

    @property
    def current(self) -> Procedure:
        """The procedure whose turn it is."""
        current: Procedure = self.pretrain if self.epoch < self.pretraining_epochs else self.finish
        return current

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        for part in (self.pretrain, self.finish):
            part.scaler = self.scaler
            part.bind(model, task)
        passes = getattr(self.pretrain, "passes", None)
        if passes is None:
            raise UsageError(
                f"procedure.pretrain={type(self.pretrain).__name__} was given; needed: a procedure that knows its "
                "passes, such as dlx.procedures.greedy.Greedy"
            )
        self.pretraining_epochs = passes

    def list_untrained(self) -> set[str]:
        untrained: set[str] = self.pretrain.list_untrained() & self.finish.list_untrained()
        return untrained

    def list_metrics(self) -> tuple[Metric, ...]:
        return (*super().list_metrics(), *self.pretrain.list_metrics(), *self.finish.list_metrics())

    def step(self, batch: Batch) -> dict[str, Tensor]:
        return self.current.step(batch)

    def end_epoch(self) -> dict[str, Tensor]:
        values = self.current.end_epoch()
        self.epoch += 1
        if self.epoch == self.pretraining_epochs and isinstance(self.model, Unrollable):
            self.model.unroll()
        self.done = self.epoch > self.pretraining_epochs and self.finish.done
        return values

    def on_validation_end(self, metrics: dict[str, float]) -> None:
        self.current.on_validation_end(metrics)

    def pop_notices(self) -> list[str]:
        return self.current.pop_notices()

    def run_metadata(self) -> dict[str, Any]:
        return {**self.pretrain.run_metadata(), **self.finish.run_metadata()}

    def pictures(self) -> dict[str, Tensor]:
        return self.current.pictures()

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "epoch": self.epoch,
            "extra": self.pretraining_epochs,
            "pretrain": self.pretrain.state_dict(),
            "finish": self.finish.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.epoch = state["epoch"]
        self.pretrain.load_state_dict(state["pretrain"])
        self.finish.load_state_dict(state["finish"])
