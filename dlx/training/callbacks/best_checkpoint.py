"""Keep the model of the best validation."""

from collections.abc import Mapping
from typing import Any

from dlx.distributed.group import current_group
from dlx.training.callbacks.callback import Callback, Training
from dlx.training.callbacks.early_stopping import compute_gain, find_monitored


class BestCheckpoint(Callback):
    """Save the model if its monitored metric is the best so far."""

    def __init__(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0

    def on_validation_end(self, trainer: Training, metrics: Mapping[str, float]) -> None:
        value = find_monitored(trainer, metrics)
        # Of equals the newest: on a small validation split accuracy ties early, by luck.
        if value is None or (self.best is not None and compute_gain(trainer, value, self.best) < 0):
            return
        self.best, self.best_epoch = value, trainer.epoch
        metric = f"val/{trainer.task.monitor}"
        about = {"epoch": trainer.epoch, "step": trainer.step, "metric": metric, "value": value}
        trainer.checkpoints.save_best(current_group().state(trainer.model), about)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
