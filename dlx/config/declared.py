"""Read which metrics a configuration's runs emit from the classes that it names, without importing them."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlx.config.catalogue import Catalogue, find_signature
from dlx.metrics import Metric, find_metric, parse_direction, resolve_declared

EMITTING = ("task", "model", "procedure")  # groups


def read_declared(config: DictConfig) -> tuple[Metric, ...]:
    """Return what the classes of task, model and procedure declare, those within them included.

    Raises:
        UsageError: a declaration names what is not in the catalogue.
    """
    found: list[Metric] = []
    for group in EMITTING:
        node = OmegaConf.to_container(config[group]) if config.get(group) else {}
        for target in _iter_targets(node):
            signature = find_signature(target)
            if signature is not None:
                found += resolve_declared(signature.attributes.get("declares", ()), target)
    return tuple(dict.fromkeys(found))


def read_own_metrics(catalogue: Catalogue) -> tuple[Metric, ...]:
    """Return what the user's own tasks, models and procedures declare.

    Raises:
        UsageError: a declaration is invalid.
    """
    entries = [entry for group in EMITTING for entry in catalogue.entries(group) if entry.origin == "user"]
    declared = (resolve_declared(entry.attributes.get("declares", ()), str(entry.target)) for entry in entries)
    return tuple(dict.fromkeys(metric for metrics in declared for metric in metrics))


def read_monitored(config: DictConfig) -> Metric | None:
    """Return the metric that the task chooses its best model by; None where it has none.

    A `mode` that the class sets goes before the declared direction, which is None where nobody declared it.
    """
    signature = find_signature(config.task.get("_target_"))
    attributes = signature.attributes if signature else {}
    monitor, mode = str(attributes.get("monitor", "")), parse_direction(attributes.get("mode"))
    if not monitor:
        return None
    own = resolve_declared(attributes.get("declares", ()), str(config.task._target_))
    found = find_metric(monitor, own) or Metric(monitor, None)
    return found._replace(name=monitor, direction=mode or found.direction)


def _iter_targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` of nested mappings and lists."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _iter_targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _iter_targets(value)
