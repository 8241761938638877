"""Parts of a network that do not learn: `freeze=[features]`, `freeze=[conv1,bn1,layer*]`, `freeze=backbone`."""

import fnmatch
from collections.abc import Sequence
from types import MethodType

from torch import nn

from dlx.config.report import find_closest, join_names
from dlx.errors import UsageError

BACKBONE = "backbone"


def freeze(model: nn.Module, names: str | Sequence[str] | None) -> list[str]:
    """Keep modules as they are: their weights take no gradient, and they stay in evaluation mode.

    Evaluation mode holds whatever `model.train()` says later: the running means of a frozen batch normalization do not
    move, and nothing is dropped.

    Args:
        model: whose modules are meant.
        names: globs over the names of `model.named_modules()`; `backbone` is everything before the last layer that has
            parameters, and what has none between the two still learns (dropout, say).

    Returns:
        The names of the frozen modules that hold something, those within another left out.

    Raises:
        UsageError: a glob that no module answers to, or nothing is left to learn.
    """
    globs = [names] if isinstance(names, str) else list(names or ())
    if not globs:
        return []
    modules = {name: module for name, module in model.named_modules() if name}
    chosen: dict[str, None] = {}
    for glob in globs:
        found = fnmatch.filter(modules, glob)
        if not found and glob == BACKBONE:
            found, head = _backbone(model)
            for name, p in model.named_parameters():  # those of modules that hold the last layer, too
                p.requires_grad_(p.requires_grad and name.startswith(f"{head}."))
        elif not found:
            raise UsageError(_unknown(glob, modules))
        chosen |= dict.fromkeys(found)
    for name in chosen:
        modules[name].requires_grad_(False)
        for module in modules[name].modules():
            module.eval()
            module.train = MethodType(_stay, module)  # a parent's train() calls it
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError(
            f"freeze=[{','.join(globs)}] was given, which leaves nothing to learn; needed: a part of "
            f"{join_names(_top(modules))}; type freeze={BACKBONE} to train the last layer alone"
        )
    return _top([name for name in chosen if modules[name].state_dict()])


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """`train` of a frozen module."""
    return module


def _backbone(model: nn.Module) -> tuple[list[str], str]:
    """The modules before the last one with parameters of its own, as ordered when they were made; and that one."""
    order = [name for name, _ in model.named_modules()]
    layers = [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    if len(layers) < 2:
        raise UsageError(
            f"freeze={BACKBONE} was given with {type(model).__name__}, which has no layer before its last one; "
            "needed: a network that has; type freeze=[]"
        )
    *_, last, head = layers
    parts = last.split(".")
    above = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    block = next((name for name in above if not head.startswith(f"{name}.")), "")  # the whole that ends with `last`
    end = 1 + max(place for place, name in enumerate(order) if f"{name}.".startswith(f"{block}.") or place == 0)
    learning = order[end:]
    return [name for name in order[1:end] if not any(other.startswith(f"{name}.") for other in learning)], head


def _top(names: Sequence[str] | dict[str, None] | dict[str, nn.Module]) -> list[str]:
    """Names that lie within no other."""
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _unknown(glob: str, modules: dict[str, nn.Module]) -> str:
    near = find_closest(glob, modules) or next((name for name in modules if glob in name), None)
    names = _top(modules)
    while len(names) == 1 and (inner := [name for name in modules if name.startswith(f"{names[0]}.")]):
        names = _top(inner)
    return (
        f"freeze={glob} was given, and no module of the model has such a name; "
        f"{f'did you mean {near}? ' if near else ''}needed: {BACKBONE}, or globs over "
        f"{join_names(names) or 'its modules, of which it has none'}"
    )
