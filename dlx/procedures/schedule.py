"""A learning-rate scheduler and when it steps: at each update, each epoch, or when a validation says so."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch

from dlx.errors import TrainingError, UsageError

COMPARABLE = (bool, int, float, str, list, tuple, type(None))  # values that are equal if their reprs are


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
        known = getattr(scheduler, "keywords", {}).items()
        self.given = {name: repr(value) for name, value in known if isinstance(value, COMPARABLE)}
        try:
            self.scheduler = scheduler(optimizer)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise UsageError(f"the scheduler refused its values: {error}; dlx info scheduler=… shows them") from error
        self.is_plateau = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        self.interval = interval
        self.start = [_group_settings(group) for group in optimizer.param_groups]  # of rates and momenta

    def step(self) -> None:
        """Step the scheduler after an update, if it goes by updates."""
        if self.interval == "step" and not self.is_plateau:
            self._step_scheduler()

    def end_epoch(self) -> None:
        """Step the scheduler after an epoch, if it goes by epochs."""
        if self.interval == "epoch" and not self.is_plateau:
            self._step_scheduler()

    def _step_scheduler(self) -> None:
        try:
            self.scheduler.step()
        except ValueError as error:  # one cycle, resumed for more epochs than it was made for
            raise TrainingError(
                f"the scheduler is at its end ({error}); needed: a schedule made for the whole run; "
                "train anew with more trainer.epochs, or with scheduler=constant"
            ) from error

    def on_validation_end(self, value: float) -> None:
        """Step a plateau scheduler after a validation, with the monitored metric."""
        if self.is_plateau:
            self.scheduler.step(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's own state, and the arguments that it was made with."""
        return {**{k: v for k, v in self.scheduler.state_dict().items() if not callable(v)}, "given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state; a scheduler made with other values, for a longer run, goes where it would stand by now."""
        state = dict(state)
        if state.pop("given", self.given) == self.given or self.is_plateau:
            self.scheduler.load_state_dict(state)
            return
        for group, start in zip(self.scheduler.optimizer.param_groups, self.start, strict=True):
            for name, value in start.items():
                if isinstance(group[name], torch.Tensor):
                    group[name].fill_(value)
                else:
                    group[name] = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no update lies between these steps: they were made before
            for _ in range(state["last_epoch"]):
                self._step_scheduler()


def _group_settings(group: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an optimizer's group, without its parameters."""
    return {
        name: float(value) if isinstance(value, torch.Tensor) else value
        for name, value in group.items()
        if name != "params"
    }
