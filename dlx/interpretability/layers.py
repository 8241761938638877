"""The layers of a model in the order in which it calls them, and what they give in one pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlx.models.heads import list_weighted_scores


class Layer(NamedTuple):
    """One call of a module within a forward pass."""

    name: str  # the module's, with the number behind it from its second call on: relu, relu#2
    module: nn.Module
    call: int  # which of the module's calls, from 0
    shape: tuple[int, ...]  # of what it gives, without the batch

    @property
    def leaf(self) -> bool:
        """Whether it is made of no other modules."""
        return next(self.module.children(), None) is None

    @property
    def maps(self) -> bool:
        """Whether it gives maps, (channels, height, width)."""
        return len(self.shape) == 3

    @property
    def convolution(self) -> bool:
        """Whether it convolves images, transposed or not."""
        return isinstance(self.module, nn.Conv2d | nn.ConvTranspose2d)


class Pass(NamedTuple):
    """What a forward pass gave."""

    scores: Tensor  # (batch, outputs)
    outputs: list[Tensor]  # of the layers asked for


@torch.no_grad()
def layers(model: nn.Module, x: Tensor) -> list[Layer]:
    """Every call of a module that gives a tensor, in the order in which they end; containers follow their parts.

    Args:
        model: in evaluation mode.
        x: (batch, *shape); one example is enough.
    """
    found: list[Layer] = []
    calls: dict[nn.Module, int] = {}
    names = {module: name for name, module in model.named_modules() if name}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        call = calls[module] = calls.get(module, -1) + 1
        if isinstance(output, Tensor) and output.ndim > 1:
            name = names[module] + (f"#{call + 1}" if call else "")
            found.append(Layer(name, module, call, tuple(output.shape[1:])))

    with hooked(names, note):
        model(x.clone())
    return found


def forward(model: nn.Module, x: Tensor, wanted: Sequence[Layer] = ()) -> Pass:
    """One pass that keeps what some layers gave, before anything works on it in place.

    Args:
        model: in evaluation mode.
        x: (batch, *shape); gradients flow back into it and into the outputs where it requires them.
        wanted: whose outputs.
    """
    outputs: dict[int, Tensor] = {}
    calls: dict[nn.Module, int] = {}

    def keep(module: nn.Module, _: Any, output: Any) -> Any:
        call = calls[module] = calls.get(module, -1) + 1
        for place, layer in enumerate(wanted):
            if layer.module is module and layer.call == call:
                outputs[place] = output
                output = output.clone()  # what follows may write into this one
        return output

    with hooked({layer.module for layer in wanted}, keep):
        (_, scores), *_ = list_weighted_scores(model(x.clone()))  # a model may begin in place too
    return Pass(scores, [outputs[place] for place in range(len(wanted))])


@contextmanager
def hooked(modules: Iterable[nn.Module], hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    """Forward hooks on modules for a while."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def chosen(scores: Tensor, target: Tensor) -> Tensor:
    """Each example's score of its class `target` (batch,), int64: (batch,)."""
    return scores.gather(1, target[:, None])[:, 0]
