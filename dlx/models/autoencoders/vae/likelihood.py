"""Likelihoods p(x | z) of a decoder's outputs: binary or real elements, independent given z."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.autoencoders.vae.latent import LOG_2PI


class Bernoulli(nn.Module):
    """Elements are 0 or 1 with probability σ(a). For values between them the same formula is no likelihood."""

    def log_prob(self, x: Tensor, a: Tensor) -> Tensor:
        """Return log p(x | z) = Σ x a - log(1 + exp a) in nats, (batch, k), of x (batch, D) and a (batch, k, D)."""
        return -torch.addcmul(F.softplus(a), x[:, None], a, value=-1).sum(2)

    def mean(self, a: Tensor) -> Tensor:
        """Return E[x | z], of the shape of a."""
        return a.sigmoid()

    def sample(self, a: Tensor) -> Tensor:
        """Draw x from p(x | z), of the shape of a."""
        return torch.rand_like(a).lt(a.sigmoid()).to(a.dtype)

    def initial_output(self, x: Tensor) -> Tensor:
        """Return decoder outputs (D,) that give the mean of x (examples, D) whatever the code is.

        Raises:
            UsageError: x holds values that are no probabilities.
        """
        if float(x.min()) < 0 or float(x.max()) > 1:
            raise UsageError(
                f"model.likelihood=bernoulli was given for values from {float(x.min()):.3g} to {float(x.max()):.3g}; "
                "needed: values in [0, 1]; type dataset.scale=unit, or model.likelihood=gaussian"
            )
        return torch.logit(x.mean(0).clamp(0.001, 0.999))


class Gaussian(nn.Module):
    """Elements are N(a, σ²), with one σ for all of them.

    Args:
        std: σ; null learns it, beginning at 1.
    """

    def __init__(self, std: float | None = None) -> None:
        super().__init__()
        log_std = torch.tensor(0.0 if std is None else math.log(std))
        if std is None:
            self.log_std: Tensor = nn.Parameter(log_std)
        else:
            self.register_buffer("log_std", log_std)

    def log_prob(self, x: Tensor, a: Tensor) -> Tensor:
        """Return log p(x | z) in nats, (batch, k), of x (batch, D) and a (batch, k, D)."""
        squares = (x[:, None] - a).square().sum(2)
        return -0.5 * squares * (-2 * self.log_std).exp() - x.shape[1] * (self.log_std + 0.5 * LOG_2PI)

    def mean(self, a: Tensor) -> Tensor:
        """Return E[x | z], of the shape of a."""
        return a

    def sample(self, a: Tensor) -> Tensor:
        """Draw x from p(x | z), of the shape of a."""
        return a + self.log_std.exp() * torch.randn_like(a)

    def initial_output(self, x: Tensor) -> Tensor:
        """Return decoder outputs (D,) that give the mean of x (examples, D) whatever the code is."""
        return x.mean(0)
