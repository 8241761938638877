"""What a sweep optimises: a metric of the runs and its direction, as their classes declare it, without torch."""

import math
from collections.abc import Mapping

from omegaconf import DictConfig

from dlx.config.declared import read_declared, read_monitored
from dlx.config.report import find_closest
from dlx.errors import UsageError
from dlx.metrics import SPLITS, Direction, find_metric, require_direction, split_direction


def choose_metric(config: DictConfig, metric: str | None) -> tuple[str, Direction]:
    """Return the metric to optimise, such as `val/accuracy`, and its direction.

    Args:
        config: the composed configuration.
        metric: as it was typed: `val/error`, or `val/fid:min` for one that is declared nowhere; None takes the metric
            that the task chooses its best model by.

    Raises:
        UsageError: nobody declares such a metric, or its direction is unknown.
    """
    monitored = read_monitored(config)
    if metric is None:
        if monitored is None:
            raise UsageError("this task has no metric of its own to choose by; type --metric val/NAME")
        return f"val/{monitored.name}", require_direction(
            "--metric", f"val/{monitored.name}", None, monitored.direction
        )
    tag, typed = split_direction("--metric", metric)
    split, slash, name = tag.partition("/")
    usual = monitored.name if monitored else "loss"
    if split not in SPLITS or not name:
        example = f"val/{tag if not slash else name or usual}"
        raise UsageError(f"--metric {metric} was given; needed: train/, val/ or test/ and a name; type {example}")
    declared = read_declared(config)
    known = {one.name: one for one in (*([monitored] if monitored else []), *declared)}
    found = find_metric(tag, known.values())
    is_declared = found is not None and found.name in known
    if typed is None and not is_declared:
        near = find_closest(name, [one for one in known if one.isidentifier()])
        raise UsageError(
            f"--metric {metric} was given; {config.task._target_} declares no {name}; "
            + (f"did you mean {split}/{near}? else " if near else "")
            + f'type --metric {tag}:min or {tag}:max, or declare it: declares = (Metric("{name}", "min"),)'
        )
    return tag, require_direction("--metric", tag, typed, found.direction if found else None)


def get_final_value(metrics: Mapping[str, float], metric: str, own: bool = False) -> float:
    """Return a run's value of a metric; of one that the best model was chosen by, the best one; NaN without any.

    Args:
        metrics: the final ones, as run.json has them.
        metric: the name.
        own: the metric was not asked for: a run that chose its best by another one is judged by that.
    """
    names = [metric]
    if metric.startswith("val/"):
        bests = [name for name in metrics if name.startswith("val/best_")] if own else []
        names = [metric.replace("val/", "val/best_", 1), metric, *bests]
    value = next((metrics[name] for name in names if isinstance(metrics.get(name), int | float)), math.nan)
    return float(value)
