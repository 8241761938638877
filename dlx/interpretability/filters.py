"""Filters: the weights of a convolution as pictures.

A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
figure 3: the first layer's filters are pictures themselves, the other layers' are rows of tiles.
"""

from typing import Literal

import torch
from torch import Tensor, nn


def filters(
    convolution: nn.Conv2d | nn.ConvTranspose2d, colour: bool, normalise: Literal["filter", "layer"] = "filter"
) -> Tensor:
    """Scale weights to tiles in [0, 1]: a weight of zero is ½, the largest in absolute value 0 or 1.

    Args:
        convolution: its weights w become ½ + w / 2 max|w|.
        colour: one tile a filter, of all its input channels (1 or 3 of them); else one tile for each channel.
        normalise: over what the largest weight is taken: one filter, so that its tiles can be compared with each other
            but not with another filter's, or the whole layer.

    Returns:
        (filters, 1, C, h, w) with C of 1 or 3 if `colour`, else (filters, inputs, 1, h, w).
    """
    w = convolution.weight.detach()
    if isinstance(convolution, nn.ConvTranspose2d):  # (inputs, filters of a group, h, w)
        w = torch.cat([part.transpose(0, 1) for part in w.chunk(convolution.groups)])
    largest = w.abs().amax((1, 2, 3), keepdim=True) if normalise == "filter" else w.abs().max()
    tiles = 0.5 + w / largest.clamp(min=1e-12) / 2
    return tiles[:, None] if colour else tiles[:, :, None]
