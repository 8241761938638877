"""The run's learning-rate schedule, of the configuration, the length of the training and the task."""

import contextlib
from functools import partial
from typing import Any

from omegaconf import DictConfig, open_dict
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dlx.config.resolved import ResolvedConfig
from dlx.errors import UsageError
from dlx.instantiate import build_optional
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task
from dlx.training.length import Length


def make_scheduler(config: DictConfig | ResolvedConfig, planned: Length, task: Task, model: nn.Module) -> Any:
    """Return the schedule's constructor, still to be called with its optimizer; None for a constant rate.

    A plateau schedule without a mode gets that of the task's monitored metric, which is written into the configuration.

    Args:
        config: the whole configuration.
        planned: for schedulers that take `steps_per_epoch`, or `total_steps` where trainer.max_steps ends the training.
        task: monitors a metric.
        model: which one may depend on it.

    Raises:
        UsageError: a plateau schedule waits for a metric, and the task monitors none.
    """
    given = {"steps_per_epoch": planned.updates_per_epoch}
    if planned.is_cut and (config.get("scheduler") or {}).get("epochs") == planned.epochs:
        given["total_steps"] = planned.updates
    scheduler = build_optional(config, "scheduler", without=("interval",), **given)
    kind = getattr(scheduler, "func", None)
    if isinstance(kind, type) and issubclass(kind, ReduceLROnPlateau):
        task.validate_model(model)
        if not task.monitor:
            raise UsageError(
                f"scheduler=plateau was given; task {type(task).__name__.lower()} monitors no metric that it could "
                "wait for; type another scheduler= (dlx list schedulers)"
            )
        if config.scheduler.get("mode") is None:
            with open_dict(config) if isinstance(config, DictConfig) else contextlib.nullcontext():
                config.scheduler["mode"] = task.mode
            scheduler = partial(
                kind, *scheduler.args, **{**scheduler.keywords, "mode": task.mode}
            )  # flat: Hydra's is not
    return scheduler and partial(Schedule, scheduler=scheduler, interval=config.scheduler.get("interval", "epoch"))
