"""Receptive fields: how many rows of the image a unit of each layer sees, found in one forward pass.

A window of k inputs that are j rows of the image apart makes a field r into r + (k - 1)·j.
Branches count by the widest.
A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

GATHERING = ("flatten", "reshape", "view", "mean", "sum", "amax", "matmul", "linear", "einsum")


class Field(NamedTuple):
    """What a unit sees: rows of the image, and how far apart in it neighbouring units are."""

    rows: float
    jump: float


class Tracker(TorchFunctionMode):
    """Follow fields through every function of torch that is called."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.known: dict[int, tuple[Tensor, Field]] = {
            id(x): (x, Field(1, 1))
        }  # tensors stay alive: ids are not reused

    def get(self, tensor: Any) -> Field | None:
        """Return the field of a tensor; None where it does not depend on the image."""
        found = self.known.get(id(tensor))
        return None if found is None else found[1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [tensor for tensor in _iterate_tensors((args, kwargs or {})) if id(tensor) in self.known]
        if inputs:
            fields = [self.known[id(tensor)][1] for tensor in inputs]
            field = Field(max(one.rows for one in fields), max(one.jump for one in fields))
            for output in _iterate_tensors(result):
                self.known[id(output)] = (output, _widen(func, inputs[0], output, field, args, kwargs or {}))
        return result


def _iterate_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _iterate_tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _iterate_tensors(part)


def _first(value: Any) -> int:
    return int(value[0]) if isinstance(value, list | tuple) else int(value)


def _widen(func: Any, x: Tensor, y: Tensor, field: Field, args: Any, kwargs: Any) -> Field:
    """Return the field after a function of x that gave y."""
    name = getattr(func, "__name__", "")

    def argument(place: int, key: str, default: Any) -> int:
        value = kwargs.get(key, args[place] if len(args) > place else default)
        return _first(default if value is None or value in ((), []) else value)

    if x.ndim != 4:
        return field
    if name in ("conv2d", "conv_transpose2d"):
        kernel, stride = args[1].shape[2], argument(3, "stride", 1)
        extent = argument(5 if name == "conv2d" else 7, "dilation", 1) * (kernel - 1) + 1
        if name == "conv2d":
            return Field(field.rows + (extent - 1) * field.jump, field.jump * stride)
        return Field(field.rows + (math.ceil(extent / stride) - 1) * field.jump, field.jump / stride)
    if name.startswith(("max_pool2d", "avg_pool2d", "lp_pool2d")):
        kernel = argument(1, "kernel_size", 1)
        extent = (argument(4, "dilation", 1) if name.startswith("max") else 1) * (kernel - 1) + 1
        return Field(field.rows + (extent - 1) * field.jump, field.jump * argument(2, "stride", kernel))
    if name.startswith("adaptive") and y.ndim == 4:
        part = x.shape[2] / y.shape[2]
        return Field(field.rows + (math.ceil(part) - 1) * field.jump, field.jump * part)
    if name in GATHERING and y.shape[2:] != x.shape[2:]:  # every row of the maps comes together
        return Field(field.rows + (x.shape[2] - 1) * field.jump, field.jump * x.shape[2])
    return field


@torch.no_grad()
def find_receptive_fields(model: nn.Module, x: Tensor) -> dict[str, int]:
    """Return the rows of the image that a unit of each module's output sees, by the module's name.

    They may be more than the image has, where padding is seen too. Nothing is returned for models of other data, and
    for modules whose output does not depend on the image by functions of torch that it could follow.

    Args:
        model: in evaluation mode.
        x: (1, channels, height, width), on the model's device.
    """
    if x.ndim != 4:
        return {}
    tracker, fields = Tracker(x), {}

    def record(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            field = tracker.get(next(_iterate_tensors(output), None))
            if field is not None:
                fields[name] = round(field.rows)

        return hook

    hooks = [module.register_forward_hook(record(name)) for name, module in model.named_modules()]
    try:
        with contextlib.suppress(RuntimeError, TypeError, NotImplementedError), tracker:
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return fields
