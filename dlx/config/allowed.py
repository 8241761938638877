"""Name what a configuration may construct: packages, the kinds of classes within them, and their arguments.

A run directory from a stranger is data: `torch.hub.load` or `os.system` in its config must not run because somebody
evaluated it, nor may a class of ours or of a library write where it is told to.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlx.errors import UsageError

# Classes under these names may be constructed, if they derive from one of `BASES` or `NESTED`.
ALLOWED = ("dlx.", "torch.nn.", "torch.optim.", "torchvision.", "sklearn.")
# What each group's object derives from.
BASES = {
    "dataset": ("dlx.datasets.dataset.Dataset",),
    "model": ("torch.nn.modules.module.Module",),
    "task": ("dlx.tasks.task.Task",),
    "procedure": ("dlx.procedures.procedure.Procedure",),
    "optimizer": ("torch.optim.optimizer.Optimizer",),
    "scheduler": ("dlx.procedures.schedule.Schedule", "torch.optim.lr_scheduler.LRScheduler"),
    "trainer": ("dlx.training.trainer.Trainer",),
    "callbacks": ("dlx.training.callbacks.callback.Callback",),
    "logger": ("dlx.loggers.logger.Logger",),
}
# What may be given to them as an argument: nothing that reads or writes a file by itself.
NESTED = (
    *BASES["model"],
    *BASES["task"],
    *BASES["procedure"],
    *BASES["optimizer"],
    *BASES["scheduler"],
    "sklearn.base.BaseEstimator",
    "sklearn.gaussian_process.kernels.Kernel",
    "sklearn.model_selection._split.BaseCrossValidator",
    "sklearn.model_selection._split.BaseShuffleSplit",
)
# Arguments of the libraries' classes that name a path, a module or code: `memory` is a folder of pickles that
# scikit-learn loads, the others are called, or looked up by name. What is null stays allowed, and of `SAFE_TEXT` text.
REFUSED_ARGUMENTS = frozenset(
    (
        "memory",
        "func",
        "inverse_func",
        "callback",
        "fun",
        "feature_name_combiner",
        "feature_names_out",
        "is_data_valid",
        "is_model_valid",
        "pooling_func",
        "preprocessor",
        "tokenizer",
        "score_func",
        "importance_getter",
        "lr_lambda",
        "loader",
        "transform",
        "target_transform",
        "transforms",
        "distance_function",
        "norm_layer",
        "process_group",
        "device_mesh",
        "cache_dir",
        "cachedir",
        "temp_folder",
        "location",
        "filename",
        "file",
        "path",
        "root",
        "folder",
        "directory",
        "url",
    )
)
# `auto` and the like are the libraries' own words.
SAFE_TEXT = frozenset(("auto", "concat", "one-to-one", "logcosh", "exp", "cube"))
HYDRA_KEYS = frozenset(("_args_", "_recursive_", "_convert_"))  # dlx writes none of them


def find_bases(path: Sequence[str]) -> tuple[str, ...]:
    """Return the classes from one of which the object at a path of the configuration derives."""
    group = path[0] if path else ""
    depth = 2 if group in ("callbacks", "logger") else 1
    return BASES.get(group, ()) if len(path) == depth else NESTED


def is_allowed_kind(kind: type, path: Sequence[str]) -> bool:
    """Tell whether a library's class is of a kind that may stand at a path of the configuration."""
    wanted = find_bases(path)
    return any(f"{base.__module__}.{base.__qualname__}" in wanted for base in kind.__mro__)


def iter_objects(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield every mapping with a `_target_`, with its path, the outer ones first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from iter_objects(value, (*path, str(key)))
    elif isinstance(node, list | tuple):
        for place, value in enumerate(node):
            yield from iter_objects(value, (*path, str(place)))


def check_arguments(path: Sequence[str], node: Mapping[str, Any], own: Sequence[str] = ()) -> None:
    """Refuse arguments by which a library's class would reach files, modules or code.

    Args:
        path: of the object in the configuration.
        node: its mapping.
        own: packages whose classes the user trusts with whatever they take.

    Raises:
        UsageError: there is one.
    """
    target = node.get("_target_")
    if not isinstance(target, str):
        raise UsageError(f"{'.'.join((*path, '_target_'))} is no text; needed: the dotted name of a class")
    if target.split(".")[0] in own:
        return
    for key, value in node.items():
        where = ".".join((*path, str(key)))
        if key in HYDRA_KEYS:
            raise UsageError(f"{where} was given; needed: arguments by their names; dlx saves no {key}")
        if target.startswith("dlx.") or value is None or key not in REFUSED_ARGUMENTS:
            continue
        if not isinstance(value, bool | int | float) and not (isinstance(value, str) and value in SAFE_TEXT):
            raise UsageError(
                f"{where} was given, which names a path or code; needed: null, in a configuration that was saved; type "
                f"allow=[{target.split('.')[0]}] if you know where it comes from"
            )
