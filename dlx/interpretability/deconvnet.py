"""The deconvolutional network: what in the image activated a unit.

M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", 2014, https://arxiv.org/abs/1311.2901,
§2.1.

One activation is propagated back to the pixels: through a convolution by its transposed filters, through max-pooling to
the locations of the maxima (the switches), and through a ReLU by rectifying the signal itself. All but the last is what
back-propagation does anyway (K. Simonyan et al. 2013, §4), so only the backward pass of ReLU is replaced, and any graph
of these layers works, shortcuts included: a sum passes the signal to both of its terms, which meet again in the pixels.
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
    """max(x, 0) forward, max(signal, 0) backward, for any x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *signal: Tensor) -> Tensor:
        return signal[0].clamp(min=0)


class Deconvolution(TorchFunctionMode):
    """A mode in which every ReLU, a module's or a function's, is a `Rectify`.

    Layers that the paper does not have use their derivatives: batch normalization in evaluation mode scales, average
    pooling spreads evenly, dense layers apply their transposed weights, tanh its slope.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in RELUS:
            return Rectify.apply(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))


def select_strongest(maps: Tensor, number: int) -> Tensor:
    """Return the indices of the maps (batch, K, ...) with the largest activations, largest first: (batch, number)."""
    return maps.flatten(2).amax(2).topk(min(number, maps.shape[1])).indices


def deconvnet(model: nn.Module, x: Tensor, layer: Layer, maps: Tensor | int = 1) -> Tensor:
    """Propagate the largest activation of a map back to the pixels, with all others set to zero.

    Args:
        model: in evaluation mode.
        x: (batch, C, H, W).
        layer: whose output is maps (batch, K, h, w), or units (batch, K).
        maps: indices of maps, (batch, number) int64; a number takes each example's strongest ones.

    Returns:
        (batch, number, C, H, W): signed, zero for a map that is nowhere active.
    """
    x = x.detach().requires_grad_()
    with Deconvolution():
        _, (A,) = forward(model, x, [layer])
    flat = A.detach().reshape(*A.shape[:2], -1)  # (B, K, places)
    indices = select_strongest(flat, maps) if isinstance(maps, int) else maps
    rows = torch.arange(len(flat), device=flat.device)
    projections = []
    for unit in indices.T:  # (B,)
        values, places = flat[rows, unit].max(1)
        signal = torch.zeros_like(flat)
        signal[rows, unit, places] = values.clamp(min=0)
        (pixels,) = torch.autograd.grad(A, x, signal.view_as(A), retain_graph=True)
        projections.append(pixels)
    return torch.stack(projections, 1)
