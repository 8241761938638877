"""List a model's layers in the order in which it calls them, and record their outputs in a forward pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlx.models.heads import list_weighted_scores


class Layer(NamedTuple):
    """One call of a module within a forward pass."""

    name: str  # the module's, followed by the call's number from the second call on: relu, relu#2
    module: nn.Module
    call: int  # which of the module's calls, from 0
    shape: tuple[int, ...]  # of the output, without the batch

    @property
    def is_leaf(self) -> bool:
        """Whether the module has no children."""
        return next(self.module.children(), None) is None

    @property
    def has_maps(self) -> bool:
        """Whether the output is maps, (channels, height, width)."""
        return len(self.shape) == 3

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution of images, transposed or not."""
        return isinstance(self.module, nn.Conv2d | nn.ConvTranspose2d)


class ForwardPass(NamedTuple):
    """The results of a forward pass."""

    scores: Tensor  # (batch, outputs)
    outputs: list[Tensor]  # of the wanted layers


@torch.no_grad()
def list_layers(model: nn.Module, x: Tensor) -> list[Layer]:
    """List all calls of modules that return a tensor, in the order in which they return; containers follow their parts.

    Args:
        model: in evaluation mode.
        x: (batch, *shape); one example is enough.
    """
    layers: list[Layer] = []
    calls: dict[nn.Module, int] = {}
    names = {module: name for name, module in model.named_modules() if name}

    def add_layer(module: nn.Module, _: Any, output: Any) -> None:
        call = calls[module] = calls.get(module, -1) + 1
        if isinstance(output, Tensor) and output.ndim > 1:
            name = names[module] + (f"#{call + 1}" if call else "")
            layers.append(Layer(name, module, call, tuple(output.shape[1:])))

    with forward_hooks(names, add_layer):
        model(x.clone())
    return layers


def forward(model: nn.Module, x: Tensor, layers: Sequence[Layer] = ()) -> ForwardPass:
    """Run a forward pass and keep the outputs of some layers, before anything changes them in place.

    Args:
        model: in evaluation mode.
        x: (batch, *shape); gradients flow back into it and into the outputs if it requires them.
        layers: whose outputs are kept.
    """
    outputs: dict[int, Tensor] = {}
    calls: dict[nn.Module, int] = {}

    def keep(module: nn.Module, _: Any, output: Any) -> Any:
        call = calls[module] = calls.get(module, -1) + 1
        for place, layer in enumerate(layers):
            if layer.module is module and layer.call == call:
                outputs[place] = output
                output = output.clone()  # later layers may write into this one
        return output

    with forward_hooks({layer.module for layer in layers}, keep):
        (_, scores), *_ = list_weighted_scores(model(x.clone()))  # a model's first operation may be in place
    return ForwardPass(scores, [outputs[place] for place in range(len(layers))])


@contextmanager
def forward_hooks(modules: Iterable[nn.Module], hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    """Register a forward hook on modules within the context."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def select_scores(scores: Tensor, target: Tensor) -> Tensor:
    """Return each example's score of its class `target` (batch,), int64: (batch,)."""
    return scores.gather(1, target[:, None])[:, 0]
