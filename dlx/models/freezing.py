"""Freeze parts of a network: `freeze=[features]`, `freeze=[conv1,bn1,layer*]`, `freeze=backbone`."""

import fnmatch
from collections.abc import Sequence
from types import MethodType

from torch import nn

from dlx.config.report import find_closest, join_names
from dlx.errors import UsageError

BACKBONE = "backbone"


def freeze(model: nn.Module, names: str | Sequence[str] | None) -> list[str]:
    """Freeze modules: their weights take no gradient, and they stay in evaluation mode.

    Evaluation mode holds whatever `model.train()` says later: the running means of a frozen batch normalization do not
    move, and nothing is dropped.

    Args:
        model: whose modules are meant.
        names: globs over the names of `model.named_modules()`; `backbone` is everything before the last layer that has
            parameters; modules without parameters between the two (dropout, say) stay in training mode.

    Returns:
        The names of the frozen modules that have parameters or buffers, those within another left out.

    Raises:
        UsageError: a glob that matches no module, or nothing is left to learn.
    """
    globs = [names] if isinstance(names, str) else list(names or ())
    if not globs:
        return []
    modules = {name: module for name, module in model.named_modules() if name}
    frozen: dict[str, None] = {}
    for glob in globs:
        matches = fnmatch.filter(modules, glob)
        if not matches and glob == BACKBONE:
            matches, head = _split_backbone(model)
            for name, p in model.named_parameters():  # those of modules that hold the last layer, too
                p.requires_grad_(p.requires_grad and name.startswith(f"{head}."))
        elif not matches:
            raise UsageError(_describe_unknown(glob, modules))
        frozen |= dict.fromkeys(matches)
    for name in frozen:
        modules[name].requires_grad_(False)
        for module in modules[name].modules():
            module.eval()
            module.train = MethodType(_keep_mode, module)  # a parent's train() calls it
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError(
            f"freeze=[{','.join(globs)}] was given, which leaves nothing to learn; needed: a part of "
            f"{join_names(_outermost(modules))}; type freeze={BACKBONE} to train the last layer alone"
        )
    return _outermost([name for name in frozen if modules[name].state_dict()])


def _keep_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for `train` of a frozen module: do nothing."""
    return module


def _split_backbone(model: nn.Module) -> tuple[list[str], str]:
    """Return the modules before the last one with parameters of its own, in order of creation; and that one."""
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


def _outermost(names: Sequence[str] | dict[str, None] | dict[str, nn.Module]) -> list[str]:
    """Return the names that lie within no other."""
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _describe_unknown(glob: str, modules: dict[str, nn.Module]) -> str:
    near = find_closest(glob, modules) or next((name for name in modules if glob in name), None)
    names = _outermost(modules)
    while len(names) == 1 and (inner := [name for name in modules if name.startswith(f"{names[0]}.")]):
        names = _outermost(inner)
    return (
        f"freeze={glob} was given, and no module of the model has such a name; "
        f"{f'did you mean {near}? ' if near else ''}needed: {BACKBONE}, or globs over "
        f"{join_names(names) or 'its modules, of which it has none'}"
    )
