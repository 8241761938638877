"""What a pruner sees of a training under way, and says of it."""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dlx.sweeps.record import Record
from dlx.sweeps.study import NAME, pruner, storage


class Pruning:
    """Reports every validation's metric to Optuna and asks its pruner whether to go on.

    Args:
        sweep: the sweep's directory.
        number: of the trial.
        record: the sweep's settings.
        epochs: of the whole run.
    """

    def __init__(self, sweep: Path, number: int, record: Record, epochs: int) -> None:
        self.sweep, self.number, self.record, self.epochs = sweep, number, record, epochs

    @cached_property
    def _study(self) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        kept = storage(self.sweep, quick=True)
        return optuna.load_study(study_name=NAME, storage=kept, pruner=pruner(self.record.prune, self.epochs)), kept

    def __call__(self, epoch: int, metrics: Mapping[str, float], monitor: str) -> bool:
        name = monitor if self.record.own else f"val/{self.record.metric.partition('/')[2]}"
        value = metrics.get(name)
        if value is None or not math.isfinite(value):
            return False
        study, kept = self._study
        trial = kept.get_trial_id_from_study_id_trial_number(kept.get_study_id_from_name(NAME), self.number)
        kept.set_trial_intermediate_value(trial, epoch, value)
        return epoch < self.epochs and bool(study.pruner.prune(study, kept.get_trial(trial)))  # else it is done
