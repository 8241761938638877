"""Report a running trial's validations to Optuna's pruner, and stop the trial where it says so."""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dlx.sweeps.record import Record
from dlx.sweeps.study import STUDY_NAME, make_pruner, open_storage
from dlx.training.callbacks.callback import Callback, Training


class PruningCallback(Callback):
    """Reports every validation's metric to Optuna and asks its pruner whether to go on.

    Args:
        sweep: the sweep's directory.
        number: the trial's number.
        record: the sweep's settings.
        epochs: of the whole run.
    """

    def __init__(self, sweep: Path, number: int, record: Record, epochs: int) -> None:
        self.sweep, self.number, self.record, self.epochs = sweep, number, record, epochs

    @cached_property
    def _study(self) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = open_storage(self.sweep, fsync=False)
        pruner = make_pruner(self.record.prune, self.epochs)
        return optuna.load_study(study_name=STUDY_NAME, storage=storage, pruner=pruner), storage

    def on_validation_end(self, trainer: Training, metrics: Mapping[str, float]) -> None:
        if self.should_prune(trainer.epoch, metrics, f"val/{trainer.task.monitor}"):
            trainer.stop(f"pruned by prune={self.record.prune}", status="pruned")

    def should_prune(self, epoch: int, metrics: Mapping[str, float], monitor: str) -> bool:
        """Report the metric of a validation. Returns whether to prune the trial."""
        name = monitor if self.record.own else f"val/{self.record.metric.partition('/')[2]}"
        value = metrics.get(name)
        if value is None or not math.isfinite(value):
            return False
        study, storage = self._study
        trial = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(STUDY_NAME), self.number)
        storage.set_trial_intermediate_value(trial, epoch, value)
        if epoch >= self.epochs:  # it is finished anyway
            return False
        return bool(study.pruner.prune(study, storage.get_trial(trial)))
