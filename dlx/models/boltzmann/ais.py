"""Annealed importance sampling: an estimate of log Z, and how sure it is.

R. M. Neal, "Annealed importance sampling", Statistics and Computing 11, 2001, https://doi.org/10.1023/A:1008923215028.
For Boltzmann machines: R. Salakhutdinov, I. Murray, "On the Quantitative Analysis of Deep Belief Networks", ICML 2008,
https://doi.org/10.1145/1390156.1390266, whose equations are numbered here.
"""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from dlx.models.boltzmann.units import UNITS, Gaussian, Units, draw_bernoulli, softplus


class Bipartite(NamedTuple):
    """A machine of two sides without connections within a side: E(s, t) = own(s) - b·s - c·t - sᵀ W t.

    An RBM is one, with s its visible and t its hidden units; a deep Boltzmann machine too, with the even layers on one
    side and the odd ones on the other. The units of t are binary and are summed out.
    """

    W: Tensor  # (|s|, |t|)
    b: Tensor  # (|s|,)
    c: Tensor  # (|t|,)
    units: Units = UNITS["binary"]  # of s

    def inputs(self, s: Tensor) -> Tensor:
        """Return the inputs of side t, (chains, |t|), for s (chains, |s|)."""
        return torch.addmm(self.c, s, self.W)

    def log_f(self, s: Tensor, inputs: Tensor, beta: Tensor | float, base: Tensor) -> Tensor:
        """Return log Σ_t exp(-(1 - β) E_base - β E), (chains,), but for own(s) (eq. 15).

        Args:
            s: (chains, |s|).
            inputs: of side t for this s, at β = 1.
            beta: one for all chains, or one of each, (chains, 1).
            base: biases of side s in the machine without weights, (|s|,).
        """
        own = s @ (self.b - base)
        scale = beta.squeeze(1) if isinstance(beta, Tensor) else beta
        return s @ base + scale * own + softplus(inputs * beta).sum(1)

    def transition(self, inputs: Tensor, beta: Tensor | float, base: Tensor, between: Tensor | None = None) -> Tensor:
        """Return the next s (chains, |s|), by way of t (eq. 16 and 17).

        Args:
            inputs, beta, base: as in `log_f`.
            between: inputs of side t at this temperature, if it has biases in the machine without weights.
        """
        t = draw_bernoulli(torch.sigmoid(inputs * beta if between is None else between))
        return self.units.draw(base + beta * (self.b - base + t @ self.W.T))


class Estimate(NamedTuple):
    """log Z in nats, between `low` and `high`: three standard errors of the mean weight, as in the paper's §4."""

    log_Z: float
    low: float  # minus infinity where three standard errors exceed the mean
    high: float
    effective_chains: float  # (Σ w)² / Σ w², chains that count: near 1 the estimate hangs on one of them
    log_weights: Tensor  # (chains,) float64; their mean, not logarithmic, is Z / Z_base


def inverse_temperatures(n: int) -> Tensor:
    """Return `n` inverse temperatures from 0 to 1, (n + 1,) float64, spaced as in the paper's §4.2.

    Of 14,500 it takes 500 up to 0.5, 4,000 up to 0.9 and 10,000 up to 1.0: the last stretch is the hard one.
    """
    first, second = max(round(n * 500 / 14500), 1), max(round(n * 4000 / 14500), 1)
    last = max(n - first - second, 1)
    parts = [
        torch.linspace(a, z, k + 1, dtype=torch.float64)[:-1]
        for a, z, k in ((0.0, 0.5, first), (0.5, 0.9, second), (0.9, 1.0, last))
    ]
    return torch.cat([*parts, torch.ones(1, dtype=torch.float64)])


def base_rate_biases(mean: Tensor, units: Units = UNITS["binary"], smoothing: float = 0.05) -> Tensor:
    """Return the biases of a machine without weights whose units have this mean, (|s|,): the paper's data base rate.

    Args:
        mean: of the data, (|s|,), in [0, 1] for binary units.
        units: of this side; a Gaussian unit's bias is its mean.
        smoothing: pulls rates towards one half, so that a unit that never was on may be.
    """
    if isinstance(units, Gaussian):
        return mean
    p = mean * (1 - smoothing) + 0.5 * smoothing
    return p.log() - (-p).log1p()


@torch.no_grad()
def anneal(
    machine: Bipartite,
    base: Tensor | None = None,
    chains: int = 100,
    steps: int = 14500,
    other: Tensor | None = None,
) -> Estimate:
    """Estimate log Z by chains that go from a machine without weights to this one.

    The intermediate machines have the energies (1 - β) E_base + β E, so that their side t is summed out as in eq. 15
    and sampled with eq. 16 and 17. One product with W serves both the weight of a temperature and its transition.
    In the paper side t has no biases in the machine without weights, and half of its units are on. Where few of them
    are in the machine itself, as in a deep one, whose sides are both large, chains that begin so are lost on the way.

    Args:
        machine: whose partition function is wanted.
        base: biases of side s in the machine without weights; None for zeros, the uniform base rate.
        chains: independent runs.
        steps: temperatures, at one Gibbs transition each.
        other: biases of side t in the machine without weights; None for zeros.
    """
    W, b, c, units = machine
    base = torch.zeros_like(b) if base is None else base.to(b)
    betas = inverse_temperatures(steps).tolist()
    s = units.draw(base.expand(chains, -1))
    log_weights = torch.zeros(chains, dtype=torch.float64, device=W.device)
    inputs = machine.inputs(s)
    other = torch.zeros_like(c) if other is None else other.to(c)
    for before, beta in itertools.pairwise(betas):
        # own(s) and base·s belong to both temperatures: they cancel.
        now, next_ = (torch.lerp(other, inputs, at) for at in (before, beta))
        log_weights += (softplus(next_) - softplus(now)).sum(1).double()
        log_weights += (beta - before) * (s @ (b - base)).double()
        if beta < 1:
            s = machine.transition(inputs, beta, base, next_)
            inputs = machine.inputs(s)
    log_base = (
        float(units.log_sum(base.double()).sum()) + units.constant * len(b) + float(softplus(other.double()).sum())
    )
    return _make_estimate(log_weights, log_base)


def _make_estimate(log_weights: Tensor, log_base: float) -> Estimate:
    n = len(log_weights)
    largest = log_weights.max()
    w = (log_weights - largest).exp()
    mean, error = w.mean(), w.std() / math.sqrt(n)
    shift = log_base + float(largest)

    def at(value: Tensor) -> float:
        return shift + math.log(float(value)) if value > 0 else -math.inf

    effective = float(w.sum().square() / w.square().sum())
    return Estimate(at(mean), at(mean - 3 * error), at(mean + 3 * error), effective, log_weights)
