"""When a learning-rate scheduler steps: each update, each epoch, or when a validation says so."""

from collections.abc import Callable
from typing import Any, Literal

import torch


class Schedule:
    """One torch.optim.lr_scheduler and its rhythm.

    Args:
        scheduler: a scheduler class without its optimizer.
        optimizer: what it schedules.
        interval: step it after each update or at the end of each epoch. ReduceLROnPlateau waits for a validation.
    """

    def __init__(
        self,
        scheduler: Callable[[torch.optim.Optimizer], Any],
        optimizer: torch.optim.Optimizer,
        interval: Literal["step", "epoch"] = "epoch",
    ) -> None:
        self.scheduler = scheduler(optimizer)
        self.plateau = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        self.interval = interval

    def step(self) -> None:
        """After an update."""
        if self.interval == "step" and not self.plateau:
            self.scheduler.step()

    def end_epoch(self) -> None:
        """After an epoch."""
        if self.interval == "epoch" and not self.plateau:
            self.scheduler.step()

    def validated(self, value: float) -> None:
        """After a validation, with the monitored metric."""
        if self.plateau:
            self.scheduler.step(value)

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's own state."""
        return {k: v for k, v in self.scheduler.state_dict().items() if not callable(v)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.scheduler.load_state_dict(state)
