"""Gaussian codes: the prior, the encoder's posterior, and the divergence between them.

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
        """Draw k codes of each example, z = mean + σ ε, with gradients, and return z and ε; (batch, k, latent) each."""
        mean = self.mean[:, None]
        noise = torch.randn(
            (len(self.mean), k, mean.shape[2]), generator=generator, device=mean.device, dtype=mean.dtype
        )
        return torch.addcmul(mean, noise, (self.log_variance * 0.5).exp()[:, None]), noise

    def kl_divergence(self) -> Tensor:
        """Return KL(q || N(0, I)) in nats of each latent dimension, (batch, latent): ½ (mean² + σ² - 1 - log σ²)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)

    def log_ratio(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return log p(z) - log q(z | x), (batch, k), of codes with their noise; the constants of the two cancel."""
        return 0.5 * ((noise.square() - z.square()).sum(2) + self.log_variance.sum(1)[:, None])


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return the effective sample size (Σw)² / Σw², 1 to k, (batch,), of log weights (batch, k)."""
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
        """Add log weights (n, some) of some samples of the n examples at `at`."""
        log_weights = log_weights.to(self.total.dtype)
        self.total[at] = torch.logaddexp(self.total[at], log_weights.logsumexp(1))
        self.squares[at] = torch.logaddexp(self.squares[at], (2 * log_weights).logsumexp(1))

    def bound(self) -> Tensor:
        """Return L_k, (examples,) nats: in expectation at most log p(x), and the closer the more samples."""
        return self.total - math.log(self.k)

    def effective_sample_size(self) -> Tensor:
        """Return the effective sample size, (examples,), as the function of this name."""
        return (2 * self.total - self.squares).exp()
