"""Numbers of a model that differ between trials, as tensors with one value for each.

A penalty's weight or a dropout's rate is a Python number in a module. Where the trials of a stack have different ones,
the stack's template holds a tensor in its place, of which `vmap` gives each trial its own value.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlx.models.autoencoders.contractive_autoencoder import ContractiveAutoencoder
from dlx.models.autoencoders.denoising_autoencoder import DenoisingAutoencoder
from dlx.models.autoencoders.sparse_autoencoder import SparseAutoencoder
from dlx.models.layers import ActivityPenalty, Regularized
from dlx.models.weights import WeightRules
from dlx.vectorized.not_vectorizable import NotVectorizable

# Numbers that may differ, by class; everything else that two modules hold must be equal.
FREE_NUMBERS: dict[type, tuple[str, ...]] = {
    DenoisingAutoencoder: ("level",),
    SparseAutoencoder: ("weight", "target"),
    ContractiveAutoencoder: ("weight",),
    ActivityPenalty: ("l1", "l2"),
}
MODULE_ATTRIBUTES = ("_parameters", "_buffers", "_modules", "training", "call_super_init")


class FreeNumber(NamedTuple):
    """A place in the template, and its value in each trial."""

    set: Callable[[Any], None]
    values: Tensor  # (K,)


class TensorDropout(nn.Module):
    """Dropout whose rate may be a tensor."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p: Any = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a part p of its elements zero, and the others scaled by 1 / (1 - p)."""
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p) if self.training else x


def find_free_numbers(template: nn.Module, models: Sequence[nn.Module], device: torch.device) -> list[FreeNumber]:
    """Compare the trials' models, and find the numbers in which they differ.

    Args:
        template: a copy of the first; dropout layers of different rates are replaced in it.
        models: the trials' models.
        device: of the values.

    Raises:
        NotVectorizable: they differ in something else.
    """
    numbers = []
    trees = [list(model.named_modules()) for model in models]
    if len({tuple((name, type(module)) for name, module in tree) for tree in trees}) > 1:
        raise NotVectorizable("they have different layers")
    for (name, place), *twins in zip(list(template.named_modules()), *trees, strict=True):
        modules = [module for _, module in twins]
        shapes = [[(n, p.shape, p.requires_grad) for n, p in m.named_parameters(recurse=False)] for m in modules]
        if any(shape != shapes[0] for shape in shapes):
            raise NotVectorizable(f"{name or 'the model'} has weights of different shapes")
        for key, values in _find_differences(modules, name):
            numbers.append(FreeNumber(_make_setter(template, name, place, key), torch.tensor(values, device=device)))
    return numbers


def _find_differences(modules: list[nn.Module], name: str) -> list[tuple[Any, list[float]]]:
    """Return the attributes of one module whose numbers differ between trials, and their values.

    Raises:
        NotVectorizable: something else differs.
    """
    if isinstance(modules[0], WeightRules):
        raise NotVectorizable("penalties and constraints of a whole model have no stacked form")
    found: list[tuple[Any, list[float]]] = []
    free = next((keys for kind, keys in FREE_NUMBERS.items() if isinstance(modules[0], kind)), ())
    for key, value in vars(modules[0]).items():
        values = [vars(module).get(key) for module in modules]
        if key in MODULE_ATTRIBUTES or key.startswith(("_forward", "_backward", "_flat")) or _are_equal(values):
            continue
        if key in free or (key == "p" and isinstance(modules[0], nn.Dropout)):
            found.append((key, values))  # type: ignore[arg-type]
        elif key == "max_norm" and isinstance(modules[0], Regularized) and None not in values:
            continue  # the engine reads it where it applies the constraint
        elif key == "penalties" and isinstance(modules[0], Regularized):
            for part in value:
                for place in (0, 1):
                    weights = [float(penalties[part][place]) for penalties in values]  # type: ignore[index]
                    if len(set(weights)) > 1:
                        found.append(((part, place), weights))
        else:
            raise NotVectorizable(f"{name or 'the model'}.{key} differs")
    return found


def _are_equal(values: list[Any]) -> bool:
    """Whether an attribute is the same in all trials."""
    first = values[0]
    if isinstance(first, Tensor | nn.Module) or callable(first):
        return True  # weights are compared by their shapes, modules and functions by what made them
    try:
        return all(bool(value == first) for value in values)
    except (TypeError, ValueError, RuntimeError):
        return False


def _make_setter(template: nn.Module, name: str, module: Any, key: Any) -> Callable[[Any], None]:
    """Return a function that sets an attribute of the template's module."""
    if isinstance(key, tuple):
        part, place = key

        def set_penalty(value: Any) -> None:
            weights = list(module.penalties[part])
            weights[place] = value
            module.penalties = {**module.penalties, part: tuple(weights)}

        return set_penalty
    if isinstance(module, nn.Dropout):
        parent, _, child = name.rpartition(".")
        dropout = TensorDropout(module.p)
        setattr(template.get_submodule(parent), child, dropout)
        return lambda value: setattr(dropout, key, value)
    return lambda value: setattr(module, key, value)
