"""What a sweep optimises: a metric of the runs and its direction, read from source text, without torch."""

import ast
import math
import re
from collections.abc import Iterator, Mapping

from omegaconf import DictConfig

from dlx.config.catalogue import find_signature
from dlx.config.report import find_closest
from dlx.config.static.signature import Signature
from dlx.errors import UsageError

SPLITS = ("train", "val", "test")
LOWER_IS_BETTER = {
    "loss",
    "error",
    "mse",
    "rmse",
    "mae",
    "perplexity",
    "bits",
    "nll",
    "distortion",
    "inertia",
    "distance",
}


def is_lower_better(metric: str) -> bool:
    """Whether a lower value of a metric is better, guessed from its name."""
    return bool(LOWER_IS_BETTER & set(metric.rpartition("/")[2].lower().split("_")))


def choose_metric(config: DictConfig, metric: str | None) -> tuple[str, str]:
    """Return the metric to optimise, such as `val/accuracy`, and its direction, `max` or `min`.

    Args:
        config: the composed configuration.
        metric: as it was typed; None takes the metric that the task chooses its best model by.

    Raises:
        UsageError: there is no such metric, or the task has none of its own.
    """
    task_source = find_signature(config.task.get("_target_"))
    attributes = task_source.attributes if task_source else {}
    monitor, mode = str(attributes.get("monitor", "")), str(attributes.get("mode", "min"))
    if metric is None:
        if not monitor:
            raise UsageError("this task has no metric of its own to choose by; type --metric val/NAME")
        return f"val/{monitor}", mode
    split, slash, name = metric.partition("/")
    if split not in SPLITS or not name:
        example = f"val/{metric if not slash else name or monitor or 'loss'}"
        raise UsageError(f"--metric {metric} was given; needed: train/, val/ or test/ and a name; type {example}")
    model_source = find_signature(config.model.get("_target_"))  # a density's model names its scores
    known = [
        re.escape(monitor),
        *(_find_metric_names(task_source) if task_source else [".+"]),
        *(_find_metric_names(model_source) if model_source else []),
    ]
    if split != "train" and not any(re.fullmatch(pattern, name) for pattern in known):
        plain = sorted(pattern for pattern in known if pattern.isidentifier())
        near = find_closest(name, plain)
        hint = f"did you mean {split}/{near}?" if near else f"type --metric val/{monitor or 'loss'}"
        raise UsageError(f"--metric {metric} was given; {config.task._target_} measures no {name}; {hint}")
    return metric, mode if name == monitor else "min" if is_lower_better(metric) else "max"


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


def _find_metric_names(source: Signature) -> list[str]:
    """Return the metrics that a class' source names, as patterns: a name put together from parts has `.*` in it."""
    names: dict[str, None] = {}
    for kind in source.iter_classes():
        if kind is None:
            return [".+"]
        for method in (item for item in kind.body if isinstance(item, ast.FunctionDef)):
            for node in ast.walk(method):
                names.update(dict.fromkeys(pattern for key in _find_keys(node) if (pattern := _make_pattern(key))))
    return list(names)


def _find_keys(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the keys that a node gives to a dictionary: those of a display, or one that is assigned."""
    if isinstance(node, ast.Dict):
        yield from (key for key in node.keys if key is not None)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        yield node.slice


def _make_pattern(key: ast.expr) -> str | None:
    """Return a regular expression for a key; None for one that is no literal."""
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return re.escape(key.value)
    if isinstance(key, ast.JoinedStr):
        parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in key.values]
        return "".join(parts)
    return None  # a variable: the name itself is written elsewhere
