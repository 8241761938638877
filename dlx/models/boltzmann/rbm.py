"""The restricted Boltzmann machine, with binary or Gaussian units.

P. Smolensky, "Information Processing in Dynamical Systems: Foundations of Harmony Theory", 1986. G. E. Hinton,
"Training Products of Experts by Minimizing Contrastive Divergence", Neural Computation 14, 2002,
https://doi.org/10.1162/089976602760128018. Initial values as in G. E. Hinton, "A Practical Guide to Training
Restricted Boltzmann Machines", 2010, §8.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.boltzmann.ais import Bipartite
from dlx.models.boltzmann.units import UNITS, Binary, Gaussian, softplus
from dlx.types import Count

MAX_ENUMERABLE = 20  # units of the smaller layer whose 2^n states are summed exactly, in a second or two


class RBM(nn.Module):
    """E(v, h) = -b·v - c·h - vᵀ W h and p(v, h) ∝ exp(-E); F(v) = -b·v - Σ_j log(1 + exp(c_j + (vᵀ W)_j)).

    Where visible units are binary, intensities in [0, 1] stand for their probabilities, as in the papers. Gaussian
    units, on either side, add |v|²/2 (|h|²/2) to E: they are real, with unit variance. A Gaussian hidden layer makes
    F(v) = -b·v - |c + Wᵀ v|²/2. Both sides Gaussian have no partition function unless the weights are small.

    Args:
        shape: of one example, with values in [0, 1], or standardised for Gaussian units (dataset.scale=standard).
        hidden: number of hidden units.
        visible_units: binary or gaussian.
        hidden_units: binary or gaussian.
        samples_after: Gibbs steps from a random start to what `sample` returns.
    """

    accepts = ("image", "vector")
    declares: ClassVar[tuple[str | Metric, ...]] = ("free_energy", "pseudo_log_likelihood")

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Count = 128,
        visible_units: Literal["binary", "gaussian"] = "binary",
        hidden_units: Literal["binary", "gaussian"] = "binary",
        samples_after: Count = 1000,
    ) -> None:
        super().__init__()
        if visible_units == hidden_units == "gaussian":
            raise UsageError(
                "model.visible_units=gaussian and model.hidden_units=gaussian were given; needed: binary units on one "
                "side at least, else no distribution need exist; type model.hidden_units=binary"
            )
        self.shape, self.samples_after = tuple(shape), samples_after
        self.visible_kind, self.hidden_kind = UNITS[visible_units], UNITS[hidden_units]
        self.intensities = visible_units == "binary"  # data stands for probabilities
        visible = math.prod(shape)
        self.W = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.b = nn.Parameter(torch.zeros(visible))
        self.c = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Return the probabilities of the hidden units, (batch, hidden), for x (batch, *shape)."""
        return self.encode(x)

    def hidden_inputs(self, v: Tensor) -> Tensor:
        """Return what the hidden units receive, (batch, hidden), of v (batch, visible)."""
        return torch.addmm(self.c, v, self.W)

    def visible_inputs(self, h: Tensor) -> Tensor:
        """Return what the visible units receive, (batch, visible), of h (batch, hidden)."""
        return torch.addmm(self.b, h, self.W.T)

    def free_energy(self, v: Tensor) -> Tensor:
        """Return F(v), (batch,), of v (batch, *shape)."""
        v = v.flatten(1)
        energy = -(v @ self.b) - self.hidden_kind.log_sum(self.hidden_inputs(v)).sum(1)
        return energy + self.visible_kind.self_energy(v) if isinstance(self.visible_kind, Gaussian) else energy

    @torch.no_grad()
    def free_energy_gap(self, v: Tensor, fantasy: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return mean F(v) - mean F(fantasy), 0-d, and its gradient in `W`, `b` and `c`, without recording a graph.

        -∂F/∂W = v p(h = 1 | v)ᵀ, so the gradient is the negative statistics minus the positive ones (Hinton 2010,
        eq. 5). Both phases go through each matrix product together.

        Args:
            v: data, (batch, *shape).
            fantasy: (chains, *shape).
        """
        v, fantasy = v.flatten(1), fantasy.flatten(1)
        sign = torch.cat([v.new_full((len(v),), -1 / len(v)), v.new_full((len(fantasy),), 1 / len(fantasy))])
        both = torch.cat([v, fantasy])
        inputs = self.hidden_inputs(both)
        gap = sign @ (both @ self.b + self.hidden_kind.log_sum(inputs).sum(1) - self.visible_kind.self_energy(both))
        h = self.hidden_kind.mean(inputs) * sign[:, None]
        return gap, tuple(g.to(self.W.dtype) for g in (both.T @ h, sign @ both, h.sum(0)))

    @torch.no_grad()
    def contrast(self, v: Tensor, steps: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Do `gibbs` from the data and `free_energy_gap` in one: the hidden layer's inputs are computed once for both.

        Args:
            v: data, (batch, *shape).
            steps: of Gibbs sampling, the k of CD-k.

        Returns:
            The fantasy (batch, *shape), the gap, 0-d, and its gradient in `W`, `b` and `c`.
        """
        v = v.flatten(1)
        first = second = self.hidden_inputs(v)
        for _ in range(steps):
            x = self.visible_kind.draw(self.visible_inputs(self.hidden_kind.draw(second)))
            second = self.hidden_inputs(x)
        n = len(v)
        h, g = self.hidden_kind.mean(first) / n, self.hidden_kind.mean(second) / n
        W = (x.T @ g).addmm_(v.T, h, alpha=-1)
        b = x.mean(0) - v.mean(0)
        gap = self.b @ b + (self.hidden_kind.log_sum(second).sum() - self.hidden_kind.log_sum(first).sum()) / n
        gap += (self.visible_kind.self_energy(v) - self.visible_kind.self_energy(x)).mean()
        return x.view(-1, *self.shape), gap, (W, b, g.sum(0) - h.sum(0))

    def encode(self, x: Tensor) -> Tensor:
        """Return E[h | v], (batch, hidden), of x (batch, *shape): probabilities of binary units."""
        return self.hidden_kind.mean(self.hidden_inputs(x.flatten(1)))

    def decode(self, h: Tensor) -> Tensor:
        """Return E[v | h], (batch, *shape), of h (batch, hidden)."""
        return self.visible_kind.mean(self.visible_inputs(h)).view(-1, *self.shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return one mean-field pass up and down, (batch, *shape)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def gibbs(self, v: Tensor, steps: int) -> Tensor:
        """Run `steps` of block Gibbs sampling from v (batch, *shape): return states of the same shape."""
        v = v.flatten(1)
        for _ in range(steps):
            h = self.hidden_kind.draw(self.hidden_inputs(v))
            v = self.visible_kind.draw(self.visible_inputs(h))
        return v.view(-1, *self.shape)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Return the means of the visible units at the end of n chains from random states, (n, *shape)."""
        v = self.visible_kind.draw(torch.zeros(n, len(self.b), dtype=self.W.dtype, device=self.W.device))
        v = self.gibbs(v, self.samples_after).flatten(1)
        return self.decode(self.hidden_kind.draw(self.hidden_inputs(v)))

    @torch.no_grad()
    def log_partition(self) -> Tensor | None:
        """Return log Z, 0-d float64, by summing over the states of the smaller binary layer; None: too many.

        Σ_v exp(-F(v)) with the hidden layer summed out, or the same with the layers exchanged.
        """
        W, b, c = self.W.double(), self.b.double(), self.c.double()
        sides = [(W, b, c, self.visible_kind, self.hidden_kind), (W.T, c, b, self.hidden_kind, self.visible_kind)]
        summed = [side for side in sides if isinstance(side[3], Binary) and len(side[1]) <= MAX_ENUMERABLE]
        if not summed:
            return None
        W, own, other, _, kind = min(summed, key=lambda side: len(side[1]))
        size = len(own)
        total = torch.tensor(-math.inf, dtype=torch.float64, device=W.device)
        codes = torch.arange(2**size, device=W.device)
        for part in codes.split(2**14):
            states = (part[:, None] >> torch.arange(size, device=W.device) & 1).double()
            terms = states @ own + kind.log_sum(states @ W + other).sum(1)
            total = torch.logaddexp(total, terms.logsumexp(0))
        return total + kind.constant * len(other)

    def bipartite(self) -> Bipartite | None:
        """Return what annealed importance sampling needs; None where the hidden units are Gaussian."""
        if not isinstance(self.hidden_kind, Binary):
            return None
        return Bipartite(self.W.detach(), self.b.detach(), self.c.detach(), self.visible_kind)

    @torch.no_grad()
    def sparsity_gradient(self, v: Tensor, target: float) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return how far the hidden units' mean activities q are from a target p, and the way there (Hinton 2010, §11).

        Of the cross-entropy of p and q its derivative with respect to a unit's total input is taken as q - p.

        Returns:
            Mean |q - p|, 0-d, and the gradients of `W`, `b` and `c`.
        """
        v = v.flatten(1)
        excess = self.hidden_inputs(v).sigmoid().mean(0) - target  # (hidden,)
        return excess.abs().mean(), (torch.outer(v.mean(0), excess), torch.zeros_like(self.b), excess)

    @torch.no_grad()
    def pseudo_log_likelihood(self, v: Tensor, units: int | None = None) -> Tensor:
        """Return Σ_i log p(v_i | all other units), (batch,) nats, of binary v (batch, *shape).

        J. Besag, "Statistical Analysis of Non-Lattice Data", 1975. Flipping v_i changes the energy's bias term by
        (1 - 2 v_i) b_i and each hidden unit's input by (1 - 2 v_i) W_i.

        Args:
            v: binary.
            units: sum over so many evenly spaced units only, and scale up; None takes all.
        """
        v = v.flatten(1)
        D = v.shape[1]
        chosen = torch.linspace(0, D - 1, min(units or D, D)).round().long().tolist()
        inputs = self.hidden_inputs(v)  # (batch, hidden)
        before = softplus(inputs).sum(1)
        total = torch.zeros_like(before)
        for i in chosen:
            change = 1 - 2 * v[:, i]
            after = softplus(inputs + change[:, None] * self.W[i]).sum(1)
            total += F.logsigmoid(before - after - change * self.b[i])
        return total * (D / len(chosen))

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return what `density` reports of x (batch, *shape): free energy, and pseudo-log-likelihood.

        Binary units see x rounded; the pseudo-log-likelihood is theirs alone.
        """
        if isinstance(self.visible_kind, Gaussian):
            return {"free_energy": self.free_energy(x)}
        v = x.round()
        scores = {"free_energy": self.free_energy(v)}
        if isinstance(self.hidden_kind, Binary):
            scores["pseudo_log_likelihood"] = self.pseudo_log_likelihood(v, units=64)
        return scores

    def pictures(self) -> dict[str, Tensor]:
        """Draw the weights of each hidden unit, for images."""
        if len(self.shape) != 3:
            return {}
        from dlx.figures.figures import plot_filters

        return {"filters": plot_filters(self.W.detach().T.cpu(), self.shape)}
