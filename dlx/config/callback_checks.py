"""Check callbacks from their source text: their hooks' names and arguments; and tell which ones need no adding."""

import ast
import re

from dlx.config.catalogue import find_signature
from dlx.config.report import find_closest, join_names

CALLBACK = "dlx.training.callbacks.callback.Callback"
# What others call our hooks: Keras, Lightning.
HOOK_ALIASES = {
    **dict.fromkeys(("on_train_begin", "on_train_start"), "on_fit_start"),
    "on_train_end": "on_fit_end",
    **dict.fromkeys(("on_epoch_begin", "on_train_epoch_start"), "on_epoch_start"),
    "on_train_epoch_end": "on_epoch_end",
    **dict.fromkeys(("on_batch_end", "on_train_batch_end"), "on_step_end"),
    **dict.fromkeys(("on_test_begin", "on_validation_epoch_start"), "on_validation_start"),
    **dict.fromkeys(("on_test_end", "on_validation_epoch_end"), "on_validation_end"),
}
_EARLY = ("early stopping is built in", "type trainer.patience=10")
_CHECKPOINT = ("the best and the last model are always saved, as best.pt and last.pt", "leave it out")
_RATE = ("the learning rate follows a schedule, and is logged as train/lr", "type scheduler=cosine")
_WRITTEN = ("every value is always written, to metrics.jsonl and for TensorBoard", "leave it out")
# What is there without being added, by its name elsewhere, lower case and letters only: what dlx does, what to type.
BUILT_IN = {
    **dict.fromkeys(("earlystopping", "earlystop"), _EARLY),
    **dict.fromkeys(("modelcheckpoint", "checkpoint", "bestcheckpoint", "backupandrestore"), _CHECKPOINT),
    **dict.fromkeys(("learningratescheduler", "lrscheduler", "learningratemonitor", "lrmonitor"), _RATE),
    "reducelronplateau": ("the learning rate follows a schedule", "type scheduler=plateau"),
    **dict.fromkeys(("tensorboard", "csvlogger"), _WRITTEN),
    "terminateonnan": ("training always stops at a loss that is not finite", "leave it out"),
    **dict.fromkeys(("progressbar", "richprogressbar", "tqdmprogressbar"), ("it is always shown", "leave it out")),
    **dict.fromkeys(("pictures", "visuals"), ("pictures are built in", "type trainer.pictures_every=1")),
    "histograms": ("histograms of the weights are built in", "leave it out"),
    "timer": ("a limit on the time is called time_limit", "type callbacks=time_limit"),
}


def find_built_in(name: str) -> tuple[str, str] | None:
    """Return what dlx does by itself that a callback of this name would do elsewhere, and what to type."""
    return BUILT_IN.get(re.sub(r"[^a-z]", "", name.lower()))


def explain_bad_callback(target: str) -> str | None:
    """Return what is wrong with a class as a callback; None if nothing is, or its source is not found."""
    signature, base = find_signature(target), find_signature(CALLBACK)
    if signature is None or base is None or signature.definition is None:
        return None
    classes = list(signature.iter_classes())
    hooks: dict[str, ast.FunctionDef] = {}
    for definition in base.iter_classes():
        hooks |= _find_hooks(definition) if definition else {}
    if None not in classes and "Callback" not in {node.name for node in classes if node}:
        return f"{target} is not a callback; needed: a class that derives from {CALLBACK}"
    for node in classes:
        for name, function in (_find_hooks(node) if node else {}).items():
            if name not in hooks:
                near = HOOK_ALIASES.get(name) or find_closest(name, hooks)
                if near:
                    return f"{target}.{name} would never be called; did you mean {near}?"
            elif not _takes(function.args, len(hooks[name].args.args)):
                wanted = join_names([argument.arg for argument in hooks[name].args.args[1:]])
                return f"{target}.{name} takes other arguments than it is given; needed: self, {wanted}"
    return None


def _find_hooks(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef) and item.name.startswith("on_")}


def _takes(arguments: ast.arguments, count: int) -> bool:
    """Return whether a function can be called with so many arguments by position, `self` included."""
    named = [*arguments.posonlyargs, *arguments.args]
    required = len(named) - len(arguments.defaults)
    missing = any(default is None for default in arguments.kw_defaults)
    return not missing and required <= count and (count <= len(named) or arguments.vararg is not None)
