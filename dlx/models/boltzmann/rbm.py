"""The restricted Boltzmann machine with binary units.

P. Smolensky, "Information Processing in Dynamical Systems: Foundations of Harmony Theory", 1986. G. E. Hinton,
"Training Products of Experts by Minimizing Contrastive Divergence", Neural Computation 14, 2002,
https://doi.org/10.1162/089976602760128018. Initial values as in G. E. Hinton, "A Practical Guide to Training
Restricted Boltzmann Machines", 2010, §8.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.types import Count

ENUMERABLE = 20  # units of the smaller layer whose 2^n states are summed exactly, in a second or two


class RBM(nn.Module):
    """E(v, h) = -b·v - c·h - vᵀ W h and p(v, h) ∝ exp(-E); F(v) = -b·v - Σ_j log(1 + exp(c_j + (vᵀ W)_j)).

    Visible units are binary; intensities in [0, 1] stand for their probabilities, as in the papers.

    Args:
        shape: of one example, with values in [0, 1].
        hidden: number of hidden units.
        samples_after: Gibbs steps from a random start to what `sample` returns.
    """

    accepts = ("image", "vector")

    def __init__(self, shape: Sequence[int], hidden: Count = 128, samples_after: Count = 1000) -> None:
        super().__init__()
        self.shape, self.samples_after = tuple(shape), samples_after
        visible = math.prod(shape)
        self.W = nn.Parameter(0.01 * torch.randn(visible, hidden))
        self.b = nn.Parameter(torch.zeros(visible))
        self.c = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of the hidden units, (batch, hidden), for x (batch, *shape)."""
        return self.encode(x)

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v), (batch,), of v (batch, *shape)."""
        v = v.flatten(1)
        return -(v @ self.b) - F.softplus(torch.addmm(self.c, v, self.W)).sum(1)

    @torch.no_grad()
    def free_energy_gap(self, v: Tensor, fantasy: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """mean F(v) - mean F(fantasy), 0-d, and its gradient in `W`, `b` and `c`, without recording a graph.

        -∂F/∂W = v p(h = 1 | v)ᵀ, so the gradient is the negative statistics minus the positive ones (Hinton 2010,
        eq. 5). Both phases go through each matrix product together.

        Args:
            v: data, (batch, *shape).
            fantasy: (chains, *shape).
        """
        v, fantasy = v.flatten(1), fantasy.flatten(1)
        sign = torch.cat([v.new_full((len(v),), -1 / len(v)), v.new_full((len(fantasy),), 1 / len(fantasy))])
        both = torch.cat([v, fantasy])
        inputs = torch.addmm(self.c, both, self.W)
        gap = sign @ (both @ self.b + F.softplus(inputs).sum(1))
        h = inputs.sigmoid() * sign[:, None]
        return gap, tuple(g.to(self.W.dtype) for g in (both.T @ h, sign @ both, h.sum(0)))

    def encode(self, x: Tensor) -> Tensor:
        """p(h = 1 | v), (batch, hidden), of x (batch, *shape)."""
        return torch.addmm(self.c, x.flatten(1), self.W).sigmoid()

    def decode(self, h: Tensor) -> Tensor:
        """p(v = 1 | h), (batch, *shape), of h (batch, hidden)."""
        return torch.addmm(self.b, h, self.W.T).sigmoid().view(-1, *self.shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """One mean-field pass up and down, (batch, *shape)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def gibbs(self, v: Tensor, steps: int) -> Tensor:
        """`steps` of block Gibbs sampling from v (batch, *shape): binary states of the same shape."""
        for _ in range(steps):
            v = drawn(self.decode(drawn(self.encode(v))))
        return v

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Probabilities of the visible units at the end of n chains from random states, (n, *shape)."""
        v = torch.rand(n, *self.shape, device=self.W.device).round_()
        return self.decode(drawn(self.encode(self.gibbs(v, self.samples_after))))

    @torch.no_grad()
    def log_partition(self) -> Tensor | None:
        """log Z, 0-d float64, by summing over all states of the smaller layer; None where they are too many.

        Σ_v exp(-F(v)) with the hidden layer summed out, or the same with the layers exchanged.
        """
        visible, hidden = self.W.shape
        if min(visible, hidden) > ENUMERABLE:
            return None
        W, own, other = self.W.double(), self.b.double(), self.c.double()
        if visible > hidden:
            W, own, other = W.T, other, own
        size = len(own)
        total = torch.tensor(-math.inf, dtype=torch.float64, device=W.device)
        codes = torch.arange(2**size, device=W.device)
        for part in codes.split(2**14):
            states = (part[:, None] >> torch.arange(size, device=W.device) & 1).double()
            terms = states @ own + F.softplus(states @ W + other).sum(1)
            total = torch.logaddexp(total, terms.logsumexp(0))
        return total

    @torch.no_grad()
    def pseudo_log_likelihood(self, v: Tensor, units: int | None = None) -> Tensor:
        """Σ_i log p(v_i | all other units), (batch,) nats, of binary v (batch, *shape).

        J. Besag, "Statistical Analysis of Non-Lattice Data", 1975. Flipping v_i changes the energy's bias term by
        (1 - 2 v_i) b_i and each hidden unit's input by (1 - 2 v_i) W_i.

        Args:
            v: binary.
            units: sum over so many evenly spaced units only, and scale up; None takes all.
        """
        v = v.flatten(1)
        D = v.shape[1]
        chosen = torch.linspace(0, D - 1, min(units or D, D)).round().long().tolist()
        inputs = torch.addmm(self.c, v, self.W)  # (batch, hidden)
        before = F.softplus(inputs).sum(1)
        total = torch.zeros_like(before)
        for i in chosen:
            change = 1 - 2 * v[:, i]
            after = F.softplus(inputs + change[:, None] * self.W[i]).sum(1)
            total += F.logsigmoid(before - after - change * self.b[i])
        return total * (D / len(chosen))

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """What `density` reports of x (batch, *shape), rounded to binary: free energy and pseudo-log-likelihood."""
        v = x.round()
        return {"free_energy": self.free_energy(v), "pseudo_log_likelihood": self.pseudo_log_likelihood(v, units=64)}

    def pictures(self) -> dict[str, Tensor]:
        """The weights of each hidden unit, for images."""
        if len(self.shape) != 3:
            return {}
        from dlx.logs.figures import filters

        return {"filters": filters(self.W.detach().T.cpu(), self.shape)}


def drawn(p: Tensor) -> Tensor:
    """Binary units, each 1 with its probability p; a quarter of `torch.bernoulli`'s time on a processor."""
    wide = torch.promote_types(p.dtype, torch.float32)  # random numbers of few bits would never meet a small p
    return (torch.rand_like(p, dtype=wide) < p).to(p.dtype)
