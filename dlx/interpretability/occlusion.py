"""Occlusion: how much a class's probability drops when a part of the image is hidden.

M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", 2014, https://arxiv.org/abs/1311.2901,
§4.2: a grey square is moved over the image.
"""

from itertools import product

import torch
from torch import Tensor, nn

from dlx.interpretability.layers import forward, select_scores


def make_masks(height: int, width: int, size: int, stride: int) -> Tensor:
    """Make a mask for every place of a square, (places, 1, height, width), true where it hides; the last are cut off.

    Args:
        height, width: of the image.
        size: of the square's side.
        stride: pixels between one place and the next, at most `size`.
    """
    starts = [range(0, max(length - size, 0) + stride, stride) for length in (height, width)]
    places = [(top, left) for top, left in product(*starts) if top < height and left < width]
    hides = torch.zeros(len(places), 1, height, width, dtype=torch.bool)
    for hidden, (top, left) in zip(hides, places, strict=True):
        hidden[:, top : top + size, left : left + size] = True
    return hides


@torch.no_grad()
def occlusion(
    model: nn.Module, x: Tensor, target: Tensor, size: int, stride: int, grey: Tensor, most: int = 256
) -> Tensor:
    """Return p_c(x) - p_c(x with the square there), at each pixel the mean over the squares that hide it.

    Args:
        model: in evaluation mode.
        x: (batch, C, H, W).
        target: (batch,) int64, the class c of each.
        size: of the square's side, in pixels.
        stride: between one place of the square and the next.
        grey: value of the hidden pixels, (C, 1, 1) or (C, H, W), scaled as the model's input.
        most: images in a pass.

    Returns:
        (batch, H, W) in [-1, 1]; below zero where hiding raises the probability.
    """
    B, _, H, W = x.shape
    hides = make_masks(H, W, size, stride).to(x.device)  # (places, 1, H, W)
    whole = select_scores(forward(model, x).scores.softmax(1), target)
    drops = torch.zeros(B, H, W, device=x.device)
    for part in hides.split(max(1, most // B)):
        hidden = torch.where(part[:, None], grey, x).flatten(0, 1)  # (part · B, C, H, W)
        p = select_scores(forward(model, hidden).scores.softmax(1), target.repeat(len(part))).view(-1, B)
        drops += torch.einsum("pb,phw->bhw", whole - p, part[:, 0].to(x.dtype))
    return drops / hides.sum((0, 1)).clamp(min=1)
