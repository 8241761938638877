"""The deconvolutional network: what in the image a unit answered to.

M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", 2014, https://arxiv.org/abs/1311.2901,
§2.1.

One activation is sent back to the pixels: through a convolution by its transposed filters, through max-pooling to the
places that had won (the switches), and through a ReLU by rectifying the signal itself. All but the last is what
back-propagation does anyway (K. Simonyan et al. 2013, §4), so only the backward pass of ReLU is replaced, and any graph
of these layers works, shortcuts included: a sum hands the signal to both of its terms, which meet again in the pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dlx.interpretability.layers import Layer, forward

RELUS = frozenset({F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})


class Rectify(torch.autograd.Function):
    """max(x, 0) forward, max(signal, 0) backward, whatever x was."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *signal: Tensor) -> Tensor:
        return signal[0].clamp(min=0)


class Deconvolution(TorchFunctionMode):
    """Within it, every ReLU is a `Rectify`, a module's or a function's.

    What the paper does not have goes back as its derivative says: batch normalization in evaluation mode as the scaling
    that it is, average pooling spread evenly, dense layers by their transposed weights, tanh by its slope.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in RELUS:
            return Rectify.apply(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))


def strongest(maps: Tensor, number: int) -> Tensor:
    """The maps with the largest activations among (batch, K, ...), the largest first: (batch, number)."""
    return maps.flatten(2).amax(2).topk(min(number, maps.shape[1])).indices


def deconvnet(model: nn.Module, x: Tensor, layer: Layer, maps: Tensor | int = 1) -> Tensor:
    """The largest activation of a map, sent back to the pixels alone; all others are zero.

    Args:
        model: in evaluation mode.
        x: (batch, C, H, W).
        layer: gives maps (batch, K, h, w), or units (batch, K).
        maps: which of them, (batch, number) int64; a number takes each example's so many strongest.

    Returns:
        (batch, number, C, H, W): signed, zero for a map that is nowhere active.
    """
    x = x.detach().requires_grad_()
    with Deconvolution():
        _, (A,) = forward(model, x, [layer])
    flat = A.detach().reshape(*A.shape[:2], -1)  # (B, K, places)
    wanted = strongest(flat, maps) if isinstance(maps, int) else maps
    rows = torch.arange(len(flat), device=flat.device)
    seen = []
    for unit in wanted.T:  # (B,)
        values, places = flat[rows, unit].max(1)
        signal = torch.zeros_like(flat)
        signal[rows, unit, places] = values.clamp(min=0)
        (pixels,) = torch.autograd.grad(A, x, signal.view_as(A), retain_graph=True)
        seen.append(pixels)
    return torch.stack(seen, 1)
