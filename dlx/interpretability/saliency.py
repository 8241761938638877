"""Saliency: how much each pixel, changed a little, would change a class's score.

K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
Saliency Maps", 2013, https://arxiv.org/abs/1312.6034, §3.
"""

import torch
from torch import Tensor, nn

from dlx.interpretability.layers import forward, select_scores


def saliency(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return the maximum over channels of |∂S_c / ∂x|, S_c the score of class c before the softmax.

    Args:
        model: in evaluation mode, so that examples do not depend on each other.
        x: (batch, C, H, W).
        target: (batch,) int64, the class c of each.

    Returns:
        (batch, H, W), not negative.
    """
    x = x.detach().requires_grad_()
    scores = select_scores(forward(model, x).scores, target)
    (gradient,) = torch.autograd.grad(scores.sum(), x)
    return gradient.abs().amax(1)
