"""Losses of the two players of an adversarial game; nothing here knows of optimizers.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661. One-sided label
smoothing: T. Salimans et al., 2016, https://arxiv.org/abs/1606.03498, §3.4. The Wasserstein loss and its penalty:
I. Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028. The hinge: J. H. Lim, J. C. Ye, "Geometric GAN", 2017,
https://arxiv.org/abs/1705.02894.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["minimax", "non_saturating", "wasserstein", "hinge"]


def discriminator_loss(real: Tensor, fake: Tensor, loss: Loss, smoothing: float = 0.0) -> Tensor:
    """Compute what the discriminator minimises, 0-d.

    With D = σ(score): -E_real[(1-s) log D + s log(1-D)] - E_fake[log(1-D)]; without smoothing s its least value is
    log 4 - 2 JSD (Theorem 1). For a critic: E_fake[score] - E_real[score]. The hinge is
    E_real[max(0, 1 - score)] + E_fake[max(0, 1 + score)].

    Args:
        real, fake: scores (batch,) of data and of samples.
        loss: minimax and non_saturating are one to the discriminator.
        smoothing: s, of the two that have labels to smooth.
    """
    if loss == "wasserstein":
        return fake.mean() - real.mean()
    if loss == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    # -log σ(a) = softplus(-a) = softplus(a) - a, and -log(1 - σ(a)) = softplus(a)
    return (F.softplus(real) - (1 - smoothing) * real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, loss: Loss) -> Tensor:
    """Compute what the generator minimises, 0-d, of the samples' scores (batch,).

    E log(1 - D) (minimax), -E log D (non_saturating), or -E score (wasserstein and hinge).
    """
    if loss == "minimax":
        return -F.softplus(fake).mean()
    if loss == "non_saturating":
        return F.softplus(-fake).mean()
    return -fake.mean()


def gradient_penalty(discriminate: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Compute E (‖∇D(x̂)‖ - 1)², 0-d, at points x̂ drawn uniformly between data and samples, each (batch, *shape)."""
    part = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    between = torch.lerp(real, fake, part).requires_grad_()
    (slope,) = torch.autograd.grad(discriminate(between).sum(), between, create_graph=True)
    result: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return result
