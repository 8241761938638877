"""Activations: the outputs of every layer for an image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlx.interpretability.layers import Layer, forward


@torch.no_grad()
def activations(model: nn.Module, x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
    """Return the output of each layer for x (batch, *shape): (batch, *layer.shape) each."""
    return forward(model, x, layers).outputs


def to_grey(maps: Tensor) -> Tensor:
    """Scale maps to grey tones in [0, 1] by the largest absolute value of all of them.

    Zero is black where nothing is negative, as after a ReLU, and mid-grey otherwise.
    """
    largest = maps.abs().max().clamp(min=1e-12)
    return maps / largest if float(maps.min()) >= 0 else 0.5 + maps / largest / 2
