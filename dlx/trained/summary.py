"""Summarise a model: layers, shapes, parameters and multiply-adds, without training and where possible without data."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dlx.datasets.dataset import Dataset
from dlx.errors import UsageError
from dlx.instantiate import build
from dlx.models.freezing import freeze
from dlx.runs.saved import copy_config
from dlx.trained.receptive_field import find_receptive_fields


class Layer(NamedTuple):
    """A module that has parameters of its own, or no submodules."""

    name: str
    type: str
    output: list[int] | None  # of one example; None if the forward pass did not reach it
    parameters: int
    macs: int | None
    receptive_field: int | None = None  # rows of the image that a unit of the output sees; None where it is no image


class Summary(NamedTuple):
    """A model in numbers."""

    model: str
    shape: list[int]  # of one example
    output: list[int] | None
    parameters: int
    trainable: int
    macs: int | None  # multiply-adds of one example's forward pass; None where there is none to trace
    layers: list[Layer]


def summarise(config: DictConfig) -> Summary:
    """Summarise the model of a configuration, built on the meta device where possible.

    Raises:
        UsageError: the model refuses its values, or the data is needed for its shapes and is missing.
    """
    config = copy_config(config)
    return build_and_trace(config, _fill_in_sizes(config))[1]


def build_and_trace(config: DictConfig, symbols: bool) -> tuple[nn.Module, Summary]:
    """Build the model of a configuration whose sizes are filled in, on the meta device where possible, and trace it.

    Args:
        config: complete.
        symbols: whether examples are symbols.
    """
    shape = list(config.dataset.shape)
    for device in ("meta", "cpu"):  # some models compute with values while they are built, which meta tensors lack
        try:
            with torch.device(device):
                model: nn.Module = build(config, "model")
                freeze(model, config.get("freeze"))
                x = torch.zeros(1, *shape, dtype=torch.int64 if symbols else torch.float32)
            return model, trace(model.eval(), x)
        except UsageError:
            raise
        except (NotImplementedError, RuntimeError, ValueError, TypeError):
            if device == "cpu":
                raise
    raise AssertionError


def _fill_in_sizes(config: DictConfig) -> bool:
    """Fill in the sizes that only the data knows, and return whether examples are symbols."""
    from hydra.utils import get_class

    kind = getattr(get_class(config.dataset._target_), "kind", None)
    if config.dataset.get("shape") is not None and config.dataset.get("outputs") is not None and kind is not None:
        return bool(kind == "symbols")
    dataset: Dataset = build(config, "dataset")
    dataset.load()
    fill_in_sizes_of(dataset, config)
    return bool(dataset.kind == "symbols")


def fill_in_sizes_of(dataset: Dataset, config: DictConfig) -> None:
    """Write the sizes of a loaded dataset into a configuration."""
    with open_dict(config):
        config.dataset.shape = list(dataset.shape or ())
        config.dataset.classes, config.dataset.outputs = dataset.classes, dataset.outputs
        if "symbols" in config.dataset:
            config.dataset.symbols = dataset.symbols


def trace(model: nn.Module, x: Tensor) -> Summary:
    """Summarise a model by one forward pass.

    Args:
        model: in evaluation mode.
        x: (1, *shape), on the model's device.
    """
    layers = {name: module for name, module in model.named_modules() if _is_shown(name, module)}
    outputs: dict[str, list[int]] = {}
    hooks = [module.register_forward_hook(_make_shape_hook(name, outputs)) for name, module in layers.items()]
    counter = FlopCounterMode(display=False)
    total: int | None = None
    # oneDNN runs a whole LSTM as one operator, which the counter does not know.
    (onednn, *_) = torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        with counter:
            result = model(x)
        total = counter.get_total_flops() // 2
    except Exception as error:  # an estimator that was not fitted, a table of probabilities: nothing to trace
        if x.device.type == "meta":
            raise RuntimeError(str(error)) from error
        result = None
    finally:
        torch.backends.mkldnn.set_flags(_enabled=onednn)
        for hook in hooks:
            hook.remove()
    fields = find_receptive_fields(model, x) if any(isinstance(m, nn.Conv2d) for m in layers.values()) else {}
    flops = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    return Summary(
        model=type(model).__name__,
        shape=list(x.shape[1:]),
        output=_shape(result),
        parameters=_count_parameters(model),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=total,
        layers=[
            Layer(
                name or type(model).__name__,
                type(module).__name__,
                outputs.get(name),
                sum(p.numel() for p in module.parameters(recurse=_is_leaf(module))),
                flops.get(name, 0) // 2 if total is not None and _is_leaf(module) else None,
                fields.get(name),
            )
            for name, module in layers.items()
        ],
    )


def _is_leaf(module: nn.Module) -> bool:
    return not any(True for _ in module.children())


def _is_shown(name: str, module: nn.Module) -> bool:
    return _is_leaf(module) or bool(name and any(True for _ in module.parameters(recurse=False)))


def _count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _make_shape_hook(name: str, outputs: dict[str, list[int]]) -> Any:
    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        shape = _shape(output)
        if shape is not None:
            outputs[name] = shape

    return record


def _shape(output: Any) -> list[int] | None:
    """Return the shape of one example of a module's output; of the first tensor where it returned several."""
    while isinstance(output, Sequence) and output:
        output = output[0]
    return list(output.shape[1:]) if isinstance(output, Tensor) else None


def format_shape(shape: list[int] | None) -> str:
    """Format a shape for a table: 3×224×224."""
    return "" if shape is None else "×".join(map(str, shape)) or "1"


def format_magnitude(number: int | None) -> str:
    """Format a count with its unit: 61.7 k, 4.09 G."""
    if number is None:
        return ""
    if number < 1000:
        return str(number)
    power = min(int(math.log10(number)) // 3, 4)
    return f"{number / 1000**power:.3g} {' kMGT'[power]}".replace("  ", " ")
