"""A limit on the time that a training may take."""

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dlx.training.callbacks.callback import Callback, Training
from dlx.types import Positive


def suggest_minutes(minutes: float, seconds: float) -> str:
    """Return a limit to go on with, as it is typed: twice the present one, or twice what was used if that is more."""
    return f"{2 * max(minutes, seconds / 60):.3g}"


class TimeLimit(Callback):
    """Stop after so many minutes of training, all resumptions together; the step under way is finished.

    Validations and pictures on the way count; what follows the end, the test split and the last pictures, does not.

    Args:
        minutes: of wall-clock time.
    """

    def __init__(self, minutes: Positive) -> None:
        self.minutes = minutes
        self.before = 0.0  # seconds, until this process took over
        self.started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds that training has taken."""
        return self.before + (0.0 if self.started is None else time.monotonic() - self.started)

    def on_fit_start(self, trainer: Training) -> None:
        self.started = time.monotonic()
        self._stop_if_over(trainer)

    def on_step_end(self, trainer: Training, values: Mapping[str, Tensor]) -> None:
        self._stop_if_over(trainer)

    def on_epoch_end(self, trainer: Training) -> None:
        self._stop_if_over(trainer)

    def _stop_if_over(self, trainer: Training) -> None:
        if self.seconds >= 60 * self.minutes:
            name = next(name for name, callback in trainer.callbacks.items() if callback is self)
            reason = f"the time limit of {self.minutes:g} minutes is reached"
            trainer.stop(reason, to_resume=f"callbacks.{name}.minutes={suggest_minutes(self.minutes, self.seconds)}")

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before = state["seconds"]
