"""Decide from their configurations which jobs of a sweep can be one stack."""

import json
from collections.abc import Mapping
from typing import Any

# Numbers of a model that trials of one stack may differ in: its initialization and its regularization.
FREE_NUMBERS = {
    *("l1", "l2", "bias_l1", "bias_l2", "max_norm"),
    *("kernel_init", "bias_init", "recurrent_init"),
    *("dropout", "input_dropout", "level", "weight", "target"),
}
STACKED_PROCEDURES = ("dlx.procedures.backprop.Backprop", "dlx.procedures.contrastive_divergence.ContrastiveDivergence")


def explain_unfit(config: Mapping[str, Any]) -> str | None:
    """Say why a job cannot be part of any stack; None if it may be.

    Args:
        config: the job's configuration, resolved.
    """
    procedure, trainer = config["procedure"], config["trainer"]
    if procedure["_target_"] not in STACKED_PROCEDURES:
        return f"procedure {procedure['_target_'].rpartition('.')[2]} has no stacked form"
    for name, wanted in (("precision", "32"), ("compile", "False")):
        if str(trainer[name]) != wanted:
            return f"trainer.{name}={trainer[name]} has no stacked form"
    if trainer["batch"] == "auto":
        return "trainer.batch=auto looks for each trial's own"
    if trainer.get("strategy"):
        return "trainer.strategy is for several processes"
    if config.get("callbacks"):
        return f"callbacks={','.join(config['callbacks'])} would watch each step of one trial"
    return None


def make_stack_key(config: Mapping[str, Any]) -> str:
    """Return what jobs of one stack have in common, as text: everything but seeds and numbers."""
    optimizer = {key: value for key, value in config["optimizer"].items() if isinstance(value, str | bool | None)}
    trainer = {key: value for key, value in config["trainer"].items() if key not in ("patience", "min_delta")}
    dataset = {key: value for key, value in config["dataset"].items() if key != "seed"}
    fixed = {
        "optimizer": optimizer,
        "trainer": trainer,
        "dataset": dataset,
        "model": _drop_free_numbers(config["model"]),
    }
    rest = {key: value for key, value in config.items() if key not in ("seed", "scheduler", *fixed)}
    return json.dumps({**rest, **fixed}, sort_keys=True, default=str)


def make_data_key(config: Mapping[str, Any]) -> str:
    """Return what trials that share their batches have in common, as text."""
    parts = {key: config[key] for key in ("dataset", "seed", "trainer")}
    targets = [config[key]["_target_"] for key in ("model", "procedure")]
    return json.dumps([parts, targets], sort_keys=True, default=str)


def has_declared_sizes(config: Mapping[str, Any]) -> bool:
    """Whether all sizes are known before the data are loaded."""
    dataset = config["dataset"]
    wanted = ("shape", "outputs", *(("symbols",) if "symbols" in dataset else ()))
    return all(dataset.get(name) is not None for name in wanted)


def _drop_free_numbers(node: Any) -> Any:
    """Return a model's configuration without its free numbers."""
    if isinstance(node, dict):
        return {key: _drop_free_numbers(value) for key, value in node.items() if key not in FREE_NUMBERS}
    return [_drop_free_numbers(value) for value in node] if isinstance(node, list) else node
