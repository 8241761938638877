"""Early stopping and the best checkpoint: what both watch is the metric that the task chooses its best model by."""

import math
from collections.abc import Mapping
from typing import Any

from dlx.training.callbacks.callback import Callback, Training


def find_monitored(trainer: Training, metrics: Mapping[str, float]) -> float | None:
    """Return the monitored metric of a validation; None in pretraining and where it was not measured, or is NaN."""
    value = metrics.get(f"val/{trainer.task.monitor}")
    if trainer.epoch <= trainer.procedure.pretraining_epochs or value is None or math.isnan(value):
        return None
    return value


def compute_gain(trainer: Training, value: float, reference: float) -> float:
    """Return by how much a value of the monitored metric is better than another."""
    return value - reference if trainer.task.mode == "max" else reference - value


class EarlyStopping(Callback):
    """Stop after some validations without an improvement of the monitored metric.

    Args:
        patience: validations; None never stops, and still counts: a resumed run may ask for it.
        min_delta: the smallest improvement that counts.
    """

    def __init__(self, patience: int | None, min_delta: float) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.mark: float | None = None  # what the next validation has to beat by min_delta
        self.waited = 0  # validations since `mark` was set

    def on_fit_start(self, trainer: Training) -> None:
        self._stop_if_exhausted(trainer)

    def on_validation_end(self, trainer: Training, metrics: Mapping[str, float]) -> None:
        value = find_monitored(trainer, metrics)
        if value is None:
            return
        if self.mark is None or compute_gain(trainer, value, self.mark) > self.min_delta:
            self.mark, self.waited = value, 0
        else:
            self.waited += 1
        self._stop_if_exhausted(trainer)

    def _stop_if_exhausted(self, trainer: Training) -> None:
        if self.patience is not None and self.waited >= self.patience:
            reason = f"val/{trainer.task.monitor} has not improved in {self.waited} validations"
            trainer.stop(reason, to_resume=f"trainer.patience={2 * self.waited}")

    def state_dict(self) -> dict[str, Any]:
        return {"mark": self.mark, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mark, self.waited = state["mark"], state["waited"]
