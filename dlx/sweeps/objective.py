"""What a sweep optimises: a metric of the runs, and whether more of it is better. Read from source, without torch."""

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
LOWER = {"loss", "error", "mse", "rmse", "mae", "perplexity", "bits", "nll", "distortion", "inertia", "distance"}


def lower(metric: str) -> bool:
    """Whether less of a metric is better."""
    return bool(LOWER & set(metric.rpartition("/")[2].lower().split("_")))


def chosen(config: DictConfig, metric: str | None) -> tuple[str, str]:
    """A metric, such as `val/accuracy`, and its direction, `max` or `min`.

    Args:
        config: composed.
        metric: as it was typed; None takes what the task chooses its best model by.

    Raises:
        UsageError: there is no such metric, or none that the task itself would choose.
    """
    found = find_signature(config.task.get("_target_"))
    attributes = found.attributes if found else {}
    monitor, mode = str(attributes.get("monitor", "")), str(attributes.get("mode", "min"))
    if metric is None:
        if not monitor:
            raise UsageError("this task has no metric of its own to choose by; type --metric val/NAME")
        return f"val/{monitor}", mode
    split, slash, name = metric.partition("/")
    if split not in SPLITS or not name:
        example = f"val/{metric if not slash else name or monitor or 'loss'}"
        raise UsageError(f"--metric {metric} was given; needed: train/, val/ or test/ and a name; type {example}")
    learner = find_signature(config.model.get("_target_"))  # a density's model names its scores
    known = [re.escape(monitor), *(_named(found) if found else [".+"]), *(_named(learner) if learner else [])]
    if split != "train" and not any(re.fullmatch(pattern, name) for pattern in known):
        plain = sorted(pattern for pattern in known if pattern.isidentifier())
        near = find_closest(name, plain)
        hint = f"did you mean {split}/{near}?" if near else f"type --metric val/{monitor or 'loss'}"
        raise UsageError(f"--metric {metric} was given; {config.task._target_} measures no {name}; {hint}")
    return metric, mode if name == monitor else "min" if lower(metric) else "max"


def value(metrics: Mapping[str, float], metric: str, own: bool = False) -> float:
    """What a run came to: of a validation metric that the best model was chosen by, that best; NaN without any.

    Args:
        metrics: final ones, as run.json has them.
        metric: its name.
        own: it was not asked for: a run that chose by another one has come to that.
    """
    names = [metric]
    if metric.startswith("val/"):
        bests = [name for name in metrics if name.startswith("val/best_")] if own else []
        names = [metric.replace("val/", "val/best_", 1), metric, *bests]
    found = next((metrics[name] for name in names if isinstance(metrics.get(name), int | float)), math.nan)
    return float(found)


def _named(found: Signature) -> list[str]:
    """The metrics that a task's source names, as patterns: what is put together from parts has `.+` in it."""
    names: dict[str, None] = {}
    for kind in found.iter_classes():
        if kind is None:
            return [".+"]
        for method in (item for item in kind.body if isinstance(item, ast.FunctionDef)):
            for node in ast.walk(method):
                names.update(dict.fromkeys(pattern for key in _keys(node) if (pattern := _pattern(key))))
    return list(names)


def _keys(node: ast.AST) -> Iterator[ast.expr]:
    """What a dictionary is written with: its keys, and those that are set later."""
    if isinstance(node, ast.Dict):
        yield from (key for key in node.keys if key is not None)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        yield node.slice


def _pattern(key: ast.expr) -> str | None:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return re.escape(key.value)
    if isinstance(key, ast.JoinedStr):
        parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*" for part in key.values]
        return "".join(parts)
    return None  # a variable: it stands for a name that is written elsewhere
