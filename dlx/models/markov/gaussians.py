"""A set of normal distributions: densities, weighted statistics, and the parameters that these make most probable.

The priors are those of X. Huang, A. Acero, H.-W. Hon, "Spoken Language Processing", 2001, pp. 443-445, as hmmlearn has
them.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Covariance = Literal["diagonal", "full", "spherical", "tied"]


class Gaussians(nn.Module):
    """N(x; μ_c, Σ_c) for C components in D dimensions.

    Args:
        components: C.
        features: D.
        covariance: `diagonal`, `full`, `spherical` (one variance a component) or `tied` (one full matrix for all).
        floor: no variance, in any direction, is smaller.
        mean_prior, mean_weight: a normal prior over each mean: as if so many observations there had been seen.
        covariance_prior, covariance_weight: an inverse Wishart (inverse gamma) prior over each covariance: the first
            is added to the squared deviations in each direction, the second less 1 (less D for full matrices) to the
            number of observations.
    """

    origin: Tensor  # (D,): values are measured from here, so that squares lose no digits

    def __init__(
        self,
        components: int,
        features: int,
        covariance: Covariance,
        floor: float = 1e-3,
        mean_prior: float = 0.0,
        mean_weight: float = 0.0,
        covariance_prior: float = 0.0,
        covariance_weight: float = 0.0,
    ) -> None:
        super().__init__()
        C, D = self.components, self.features = components, features
        self.covariance, self.floor = covariance, floor
        self.mean_prior, self.mean_weight = mean_prior, mean_weight
        self.covariance_prior, self.covariance_weight = covariance_prior, covariance_weight
        self.has_matrices = covariance in ("full", "tied")
        self.mean = nn.Parameter(torch.randn(C, D, dtype=torch.float64))
        shape = {"diagonal": (C, D), "spherical": (C, 1), "full": (C, D, D), "tied": (1, D, D)}[covariance]
        # Logarithms of variances; or lower factors of the covariances, of whose diagonals there is the logarithm.
        self.spread = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("origin", torch.zeros(D, dtype=torch.float64))

    @property
    def factors(self) -> Tensor:
        """L (C or 1, D, D), lower triangular, Σ = L Lᵀ."""
        if not self.has_matrices:
            return torch.diag_embed((self.spread / 2).exp().expand(-1, self.features))
        return self.spread.tril(-1) + torch.diag_embed(self.spread.diagonal(dim1=1, dim2=2).exp())

    @property
    def covariances(self) -> Tensor:
        """Σ (C, D, D)."""
        L = self.factors
        return (L @ L.mT).expand(self.components, -1, -1)

    def log_density(self, x: Tensor) -> Tensor:
        """Return log N(x; μ_c, Σ_c), (..., C), of x (..., D)."""
        x, mean = x.double() - self.origin, self.mean - self.origin
        if self.has_matrices:
            identity = torch.eye(self.features, dtype=x.dtype, device=x.device)
            L = self.factors
            whiten = torch.linalg.solve_triangular(L, identity.expand_as(L), upper=False).mT  # x L⁻ᵀ has variance 1
            flat = x.flatten(0, -2)
            white = flat @ whiten - mean[:, None] @ whiten  # (C, N, D)
            square = white.square().sum(2).T.unflatten(0, x.shape[:-1])
            log_volume = self.spread.diagonal(dim1=1, dim2=2).sum(1)
        else:
            precision = (-self.spread).exp().expand(-1, self.features)  # (C, D)
            square = x.square() @ precision.T - 2 * x @ (precision * mean).T + (precision * mean.square()).sum(1)
            log_volume = self.spread.expand(-1, self.features).sum(1) / 2
        result: Tensor = -(self.features * math.log(2 * math.pi) + square) / 2 - log_volume
        return result

    def statistics(self, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Return moments of x (N, D) about the origin: `weight` (C,), `first` (C, D), `second` (C, D), or matrices."""
        x, w = x.double() - self.origin, weights.double()
        if self.has_matrices:
            second = torch.stack([(x * w[:, c, None]).T @ x for c in range(self.components)])
        else:
            second = w.T @ x.square()
        return {"weight": w.sum(0), "first": w.T @ x, "second": second}

    @torch.no_grad()
    def maximize(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the most probable parameters; a component of no weight keeps its own."""
        weight, first, second = statistics["weight"][:, None], statistics["first"], statistics["second"]
        seen = weight > 1e-10
        m0, k = self.mean_prior - self.origin, self.mean_weight
        mean = torch.where(seen, (first + k * m0) / (weight + k).clamp(min=1e-300), self.mean - self.origin)
        off = mean - m0
        if self.has_matrices:
            cross = first[:, :, None] * mean[:, None]
            scatter = second - cross - cross.mT + weight[..., None] * mean[:, :, None] * mean[:, None]
            scatter = scatter + k * off[:, :, None] * off[:, None]
            self._maximize_covariances(scatter, weight[..., None], seen[..., None])
        else:
            scatter = second - 2 * mean * first + mean.square() * weight + k * off.square()
            variance = (scatter + self.covariance_prior) / (weight + max(self.covariance_weight - 1, 0)).clamp(min=1e-5)
            if self.covariance == "spherical":
                variance = variance.mean(1, keepdim=True)
            self.spread.copy_(torch.where(seen, variance.clamp(min=self.floor).log(), self.spread))
        self.mean.copy_(mean + self.origin)

    def _maximize_covariances(self, scatter: Tensor, weight: Tensor, seen: Tensor) -> None:
        """Take covariances from scatter matrices (C, D, D) of so much weight."""
        D = self.features
        if self.covariance == "tied":
            scatter, weight = scatter.sum(0, keepdim=True), weight.sum(0, keepdim=True)
            seen = seen.any(0, keepdim=True)
        prior = self.covariance_prior * torch.eye(D, dtype=scatter.dtype, device=scatter.device)
        covariance = (scatter + prior) / (weight + max(self.covariance_weight - D, 0)).clamp(min=1e-10)
        self.spread.copy_(torch.where(seen, self._to_spread(covariance), self.spread))

    def _to_spread(self, covariance: Tensor) -> Tensor:
        """Return `spread` of matrices (..., D, D), eigenvalues raised to the floor: the likeliest that obey it."""
        values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
        if bool((values < self.floor).any()):
            covariance = vectors * values.clamp(min=self.floor)[..., None, :] @ vectors.mT
        L = torch.linalg.cholesky(covariance)
        result: Tensor = L.tril(-1) + torch.diag_embed(L.diagonal(dim1=-2, dim2=-1).log())
        return result

    @torch.no_grad()
    def log_prior(self) -> Tensor:
        """Return the logarithm of the prior density of all parameters, up to a constant, 0-d."""
        k, extra = self.mean_weight, self.features if self.has_matrices else 1
        w = max(self.covariance_weight - extra, 0)
        if k == 0 and w == 0 and self.covariance_prior == 0:
            return self.mean.new_zeros(())
        off = self.mean - self.mean_prior
        inverse = torch.cholesky_inverse(self.factors)
        pull = k * (off[:, None] @ inverse @ off[:, :, None]).sum()
        trace = self.covariance_prior * inverse.diagonal(dim1=1, dim2=2).sum()
        log_volume = 2 * self.factors.diagonal(dim1=1, dim2=2).log().sum()
        return -(pull + trace + w * log_volume) / 2

    @torch.no_grad()
    def initialize(self, x: Tensor, means: Tensor) -> None:
        """Start at `means` (C, D), with the covariance of all x (N, D)."""
        x = x.double()
        self.origin.copy_(x.mean(0))
        self.mean.copy_(means)
        centred = x - self.origin
        if self.has_matrices:
            whole = centred.T @ centred / len(x) + self.floor * torch.eye(self.features, dtype=x.dtype, device=x.device)
            self.spread.copy_(self._to_spread(whole).expand_as(self.spread))
            return
        variance = centred.square().mean(0) + self.floor
        self.spread.copy_(
            (variance.mean() if self.covariance == "spherical" else variance).log().expand_as(self.spread)
        )

    @torch.no_grad()
    def constrain(self) -> None:
        """Raise to the floor what a gradient step put below it."""
        if self.has_matrices:
            self.spread.copy_(self._to_spread(self.factors @ self.factors.mT))
        else:
            self.spread.clamp_(min=math.log(self.floor))

    def draw(self, component: Tensor) -> Tensor:
        """Return the values (n, D) of components (n,)."""
        noise = torch.randn(len(component), self.features, 1, dtype=self.mean.dtype, device=self.mean.device)
        L = self.factors.expand(self.components, -1, -1)[component]
        return self.mean[component] + (L @ noise)[:, :, 0]
