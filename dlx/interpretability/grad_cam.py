"""Grad-CAM: where in an image a layer's maps support a class.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017,
https://arxiv.org/abs/1610.02391, §3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.interpretability.layers import Layer, forward, select_scores


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, layer: Layer) -> Tensor:
    """Compute L = ReLU(Σ_k α_k A_k), with α_k the mean over places of ∂S_c / ∂A_k.

    Args:
        model: in evaluation mode.
        x: (batch, C, H, W).
        target: (batch,) int64, the class c of each.
        layer: whose output is the maps A, (batch, K, h, w).

    Returns:
        (batch, h, w), not negative.
    """
    scores, (A,) = forward(model, x.detach().requires_grad_(), [layer])
    (gradient,) = torch.autograd.grad(select_scores(scores, target).sum(), A)
    alpha = gradient.mean((2, 3), keepdim=True)  # (batch, K, 1, 1), Eq. 1
    return F.relu((alpha * A).sum(1)).detach()  # Eq. 2


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps (batch, h, w) to the image's height and width."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
