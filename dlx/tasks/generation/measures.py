"""Measures of how like data samples are: mathematics only, on tensors of samples and of data."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class ParzenEstimate(NamedTuple):
    """Log-likelihood of data under Gaussian kernels at samples."""

    mean: float  # nats for an example
    error: float  # standard error of the mean
    sigma: float  # of the kernels


def parzen_log_likelihood(samples: Tensor, x: Tensor, sigma: float, chunk: int = 500) -> Tensor:
    """Compute log p(x) under an even mixture of N(sample, σ² I), (n,) in nats, float64.

    I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661, §5; O. Breuleux,
    Y. Bengio, P. Vincent 2011, https://doi.org/10.1162/NECO_a_00158. The papers warn of the estimate's variance, and
    that it does poorly in many dimensions.

    Args:
        samples: (m, *shape).
        x: examples (n, *shape).
        sigma: σ.
        chunk: examples at a time; memory is that of chunk × m distances.
    """
    return parzen_log_likelihoods(samples, x, [sigma], chunk)[0]


def parzen_log_likelihoods(samples: Tensor, x: Tensor, sigmas: list[float], chunk: int = 500) -> Tensor:
    """Compute `parzen_log_likelihood` for several σ, (len(sigmas), n); distances are computed once."""
    if samples.device.type == "mps":  # Apple's GPU has no float64, which the squares below need
        samples, x = samples.cpu(), x.cpu()
    centres = samples.flatten(1).double()
    squares, D = centres.square().sum(1), centres.shape[1]
    parts = []
    for part in x.flatten(1).split(chunk):
        part = part.double()
        distance = part.square().sum(1, keepdim=True) - 2 * part @ centres.T + squares  # ‖x - s‖²
        logs = [
            torch.logsumexp(-distance.clamp(min=0) / (2 * s * s), 1) - D * math.log(s * math.sqrt(2 * math.pi))
            for s in sigmas
        ]
        parts.append(torch.stack(logs))
    return torch.cat(parts, 1) - math.log(len(centres))


def fit_parzen_window(samples: Tensor, val: Tensor, x: Tensor, sigmas: list[float] | None = None) -> ParzenEstimate:
    """Compute the log-likelihood of x (n, *shape) with the σ that is best for `val` (k, *shape).

    Args:
        samples: (m, *shape).
        val: validation examples; the papers take 1000.
        x: examples to be measured.
        sigmas: to choose from; the paper's code has ten from 0.1 to 1, even in the logarithm, which is the default.
    """
    sigmas = sigmas or torch.logspace(-1, 0, 10, dtype=torch.float64).tolist()
    sigma = sigmas[int(parzen_log_likelihoods(samples, val, sigmas).mean(1).argmax())]
    logs = parzen_log_likelihood(samples, x, sigma)
    return ParzenEstimate(float(logs.mean()), float(logs.std() / math.sqrt(len(logs))), sigma)


def frechet_distance(one: Tensor, two: Tensor) -> float:
    """Compute ‖μ₁ - μ₂‖² + Tr(C₁ + C₂ - 2 (C₁ C₂)^½) of two sets of features, (n, k) and (m, k), in float64.

    The squared 2-Wasserstein distance of two Gaussians: D. C. Dowson, B. V. Landau 1982,
    https://doi.org/10.1016/0047-259X(82)90077-X; of features of images, M. Heusel et al. 2017,
    https://arxiv.org/abs/1706.08500. It falls as the sets grow: compare sets of the same size only.
    """
    one, two = one.double(), two.double()
    C1, C2 = one.T.cov(), two.T.cov()
    if C1.ndim == 0:
        C1, C2 = C1[None, None], C2[None, None]
    # The trace of (C₁ C₂)^½ is that of (C₁^½ C₂ C₁^½)^½, which is symmetric.
    values, vectors = torch.linalg.eigh(C1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ C2 @ root).clamp(min=0).sqrt().sum()
    distance = (one.mean(0) - two.mean(0)).square().sum() + C1.trace() + C2.trace() - 2 * both
    return max(float(distance), 0.0)


def mode_coverage(samples: Tensor, centres: Tensor, std: float) -> dict[str, float]:
    """Measure how well samples (n, *shape) cover a mixture of round Gaussians at `centres` (modes, *shape).

    Returns:
        `modes`, `high_quality` and `mode_divergence`, as `Generation` explains them; the divergence is left out where
        no sample is near a mode.
    """
    exact = "donot_use_mm_for_euclid_dist"  # products may be rounded, and centres lie far from the origin
    distance, nearest = torch.cdist(samples.flatten(1), centres.flatten(1), compute_mode=exact).min(1)
    near = distance <= 3 * std
    counts = nearest[near].bincount(minlength=len(centres))
    values = {"modes": float((counts > 0).sum()), "high_quality": float(near.double().mean())}
    if near.any():
        share = counts.double() / counts.sum()
        values["mode_divergence"] = float(torch.special.xlogy(share, share * len(centres)).sum())
    return values


def roc_auc(real: Tensor, fake: Tensor) -> float:
    """Compute how often a score of `real` (n,) exceeds one of `fake` (m,), ties counting half (Mann and Whitney)."""
    ordered = fake.double().sort().values
    real = real.double()
    below = torch.searchsorted(ordered, real) + torch.searchsorted(ordered, real, right=True)
    return float(below.double().mean()) / (2 * len(fake))


def mean_pairwise_distance(x: Tensor, most: int = 1000) -> Tensor:
    """Compute the mean distance between two of x (n, *shape), 0-d; of the first `most`, since there are n² pairs."""
    flat = x[:most].flatten(1).float()
    return torch.pdist(flat).mean() if len(flat) > 1 else flat.new_zeros(())
