"""The base of procedures that make their gradients themselves and leave the update to an optimizer."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dlx.distributed.group import current_group
from dlx.metrics import Metric
from dlx.optimizers.fused import make_optimizer, make_updater, without_dynamo
from dlx.procedures.procedure import Procedure
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task


class Descent(Procedure):
    """A subclass's `step` finds a gradient for each of `params`, averages them over all processes by
    `average_gradients`, calls `update` with that, and `advance` afterwards.

    Args:
        optimizer: a torch.optim class without its parameters.
        scheduler: a torch.optim.lr_scheduler class without its optimizer.
    """

    distributes = True
    declares: ClassVar[tuple[str | Metric, ...]] = ("lr",)

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
    ) -> None:
        self.optimizer_factory, self.schedule_factory = optimizer, scheduler

    def trainable_parameters(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the parameters that learn, by name."""
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.named = self.trainable_parameters(model)
        self.params = list(self.named.values())
        with without_dynamo():
            self.optimizer = make_optimizer(self.optimizer_factory, self.params)
        self.schedule = self.schedule_factory(self.optimizer) if self.schedule_factory else None
        self.update = make_updater(self.optimizer, self.params)

    def list_untrained(self) -> set[str]:
        return {name for name, p in self.model.named_parameters() if p.requires_grad} - set(self.named)

    def average_gradients(self, gradients: Any) -> Any:
        """Average gradients over a whole batch, whichever process has which of its examples."""
        return current_group().average_gradients(gradients)

    def advance(self) -> None:
        """Step the schedule, after each update."""
        if self.schedule is not None:
            self.schedule.step()

    def end_epoch(self) -> dict[str, Tensor]:
        if self.schedule is not None:
            self.schedule.end_epoch()
        return {"lr": torch.tensor(float(self.optimizer.param_groups[0]["lr"]), dtype=torch.float64)}

    def on_validation_end(self, metrics: dict[str, float]) -> None:
        if self.schedule is not None and self.task.monitor in metrics:
            self.schedule.on_validation_end(metrics[self.task.monitor])

    def state_dict(self) -> dict[str, Any]:
        with without_dynamo():
            optimizer = self.optimizer.state_dict()
        schedule = self.schedule.state_dict() if self.schedule else None
        return {**super().state_dict(), "optimizer": optimizer, "schedule": schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
