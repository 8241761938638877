"""When a learning-rate scheduler steps: each update, each epoch, or when a validation says so."""

from collections.abc import Callable
from typing import Any, Literal

import torch

from dlx.errors import TrainingError, UsageError


class Schedule:
    """One torch.optim.lr_scheduler and its rhythm.

    Args:
        optimizer: what it schedules.
        scheduler: a scheduler class without its optimizer.
        interval: step it after each update or at the end of each epoch. ReduceLROnPlateau waits for a validation.

    Raises:
        UsageError: the scheduler refuses its values.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scheduler: Callable[[torch.optim.Optimizer], Any],
        interval: Literal["step", "epoch"] = "epoch",
    ) -> None:
        try:
            self.scheduler = scheduler(optimizer)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise UsageError(f"the scheduler refused its values: {error}; dlx info scheduler=… shows them") from error
        self.plateau = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        self.interval = interval

    def step(self) -> None:
        """After an update."""
        if self.interval == "step" and not self.plateau:
            self._advance()

    def end_epoch(self) -> None:
        """After an epoch."""
        if self.interval == "epoch" and not self.plateau:
            self._advance()

    def _advance(self) -> None:
        try:
            self.scheduler.step()
        except ValueError as error:  # one cycle, resumed for more epochs than it was made for
            raise TrainingError(
                f"the scheduler is at its end ({error}); needed: a schedule made for the whole run; "
                "train anew with more trainer.epochs, or with scheduler=constant"
            ) from error

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
