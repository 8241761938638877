"""Activations: what every layer makes of an image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlx.interpretability.layers import Layer, forward


@torch.no_grad()
def activations(model: nn.Module, x: Tensor, wanted: Sequence[Layer]) -> list[Tensor]:
    """What each layer gives for x (batch, *shape): (batch, *layer.shape) each."""
    return forward(model, x, wanted).outputs


def toned(maps: Tensor) -> Tensor:
    """Maps as grey tones in [0, 1], on one scale for all of them: the largest in size is 1.

    Zero is black where nothing is negative, as behind a ReLU, and mid-grey otherwise.
    """
    largest = maps.abs().max().clamp(min=1e-12)
    return maps / largest if float(maps.min()) >= 0 else 0.5 + maps / largest / 2
