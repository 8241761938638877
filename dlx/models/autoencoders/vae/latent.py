"""Gaussian codes: the prior, the posterior that an encoder gives, and what one differs from the other.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class Posterior(NamedTuple):
    """q(z | x) = N(mean, diag σ²), one for each example."""

    mean: Tensor  # (batch, latent)
    log_variance: Tensor  # (batch, latent)

    def sample(self, k: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """k codes of each example, z = mean + σ ε, through which gradients flow, and ε; (batch, k, latent) each."""
        mean = self.mean[:, None]
        noise = torch.randn(
            (len(self.mean), k, mean.shape[2]), generator=generator, device=mean.device, dtype=mean.dtype
        )
        return torch.addcmul(mean, noise, (self.log_variance * 0.5).exp()[:, None]), noise

    def divergence(self) -> Tensor:
        """KL(q || N(0, I)) in nats of each latent dimension, (batch, latent): ½ (mean² + σ² - 1 - log σ²)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)

    def log_ratio(self, z: Tensor, noise: Tensor) -> Tensor:
        """log p(z) - log q(z | x), (batch, k), of codes with their noise; the constants of the two cancel."""
        return 0.5 * ((noise.square() - z.square()).sum(2) + self.log_variance.sum(1)[:, None])


def effective(log_weights: Tensor) -> Tensor:
    """How many equal weights would tell as much, 1 to k, (batch,), of log weights (batch, k): (Σw)² / Σw²."""
    return (2 * log_weights.logsumexp(1) - (2 * log_weights).logsumexp(1)).exp()


class Evidence:
    """log (1/k) Σ w over samples that come a few at a time, in log space and float64.

    Args:
        examples: whose weights they are.
        k: samples of each, all told.
        device: where.
    """

    def __init__(self, examples: int, k: int, device: torch.device) -> None:
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.total = torch.full((examples,), -math.inf, device=device, dtype=wide)  # log Σ w
        self.squares = self.total.clone()  # log Σ w²
        self.k = k

    def add(self, log_weights: Tensor, at: slice = slice(None)) -> None:
        """Take in log weights (n, some) of some samples of the n examples at `at`."""
        log_weights = log_weights.to(self.total.dtype)
        self.total[at] = torch.logaddexp(self.total[at], log_weights.logsumexp(1))
        self.squares[at] = torch.logaddexp(self.squares[at], (2 * log_weights).logsumexp(1))

    def bound(self) -> Tensor:
        """L_k, (examples,) nats: at most log p(x) in expectation, and closer to it the more samples there are."""
        return self.total - math.log(self.k)

    def effective(self) -> Tensor:
        """As the function of this name, (examples,)."""
        return (2 * self.total - self.squares).exp()
