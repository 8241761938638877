"""The deep Boltzmann machine: layers of binary units, each connected to the next, none of them directed.

R. Salakhutdinov, G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
https://proceedings.mlr.press/v5/salakhutdinov09a.html, whose equations are numbered here. It learns by
procedure=mean_field.
"""

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.boltzmann.ais import Bipartite
from dlx.models.boltzmann.dbm.layers import DoubledRBM, Unrolled
from dlx.models.boltzmann.rbm import MAX_ENUMERABLE
from dlx.models.boltzmann.units import draw_bernoulli, softplus
from dlx.types import Count

Layers = list[Tensor]  # of each layer's units, (batch, units)


class DBM(nn.Module):
    """E(v, h¹…hᴸ) = -Σ_l b_l·hˡ - Σ_l (hˡ⁻¹)ᵀ W_l hˡ, with h⁰ = v.

    What follows from data is approximated by independent units with means μ (mean field, eq. 7), which gives a lower
    bound on log p(v) (eq. 5): -`variational_free_energy` - log Z.

    Args:
        shape: of one example, with values in [0, 1].
        hidden: units of each hidden layer, from the data upwards; two layers or more.
        outputs: classes, for a feed-forward network that takes over the weights (procedure=fine_tune_dbm); null: none.
        iterations: rounds of mean field where the model is looked at; learning has its own number.
        samples_after: Gibbs steps from a random start to what `sample` returns.
    """

    accepts = ("image", "vector")
    intensities = True  # data stands for probabilities
    declares: ClassVar[tuple[str | Metric, ...]] = ("variational_free_energy",)
    unrolls = ("unrolled",)  # what `unroll` makes of the rest

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128, 128),
        outputs: Count | None = None,
        iterations: Count = 30,
        samples_after: Count = 1000,
    ) -> None:
        super().__init__()
        if len(hidden) < 2:
            raise UsageError(
                f"model.hidden={list(hidden)} was given; needed: two layers or more; type model=rbm for one"
            )
        self.shape, self.iterations, self.samples_after = tuple(shape), iterations, samples_after
        sizes = [math.prod(shape), *hidden]
        self.W = nn.ParameterList(0.01 * torch.randn(n, m) for n, m in itertools.pairwise(sizes))
        self.b = nn.ParameterList(torch.zeros(n) for n in sizes)
        self.unrolled = Unrolled(sizes, outputs) if outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (batch, outputs) of x (batch, *shape); without classes the means of the uppermost layer."""
        layers = self.mean_field(x.flatten(1))
        if self.unrolled is None:
            return layers[-1]
        logits: Tensor = self.unrolled(layers[0], layers[2])
        return logits

    def unroll(self) -> None:
        """Give the feed-forward network the weights that were learned."""
        if self.unrolled is not None:
            self.unrolled.copy_weights(list(self.W), list(self.b))

    def stack(self) -> list[nn.Module]:
        """Return each two neighbouring layers as an RBM, for pretraining; the parameters are shared."""
        top = len(self.W) - 1
        return [
            DoubledRBM(W, self.b[i], self.b[i + 1], up=2 if i < top else 1, down=2 if i > 0 else 1)
            for i, W in enumerate(self.W)
        ]

    def below(self, index: int, batch: Batch) -> Batch:
        """Return what pair `index` sees of a batch: the means of its lower layer, on a way up with doubled weights."""
        x = batch.x.flatten(1)
        for i in range(index):
            x = torch.addmm(self.b[i + 1], x, self.W[i], alpha=2).sigmoid()
        return Batch(x, batch.y)

    def mean_field_parameters(self) -> list[str]:
        """Return the names of what the energy is made of, in the order of its gradient."""
        return [*(f"W.{i}" for i in range(len(self.W))), *(f"b.{i}" for i in range(len(self.b)))]

    def inputs(self, layers: Layers, index: int) -> Tensor:
        """Return what the neighbours of layer `index` send it, its bias included, (batch, units)."""
        total = self.b[index].expand(len(layers[0]), -1)
        if index > 0:
            total = torch.addmm(total, layers[index - 1], self.W[index - 1])
        if index < len(self.W):
            total = torch.addmm(total, layers[index + 1], self.W[index].T)
        return cast(Tensor, total)

    @torch.no_grad()
    def mean_field(self, v: Tensor, iterations: int | None = None) -> Layers:
        """Return v and the means μ of each hidden layer, (batch, units) each, by the fixed point of eq. 7.

        Odd layers do not see each other, nor do even ones, so both kinds are updated at once and the bound never
        falls. The start is one way up with the weights doubled for the layers that are missing above.

        Args:
            v: (batch, visible).
            iterations: rounds; None takes the model's own.
        """
        given = torch.addmm(self.b[1], v, self.W[0])  # what the first hidden layer hears of the data: it stays
        layers = [v, (2 * given - self.b[1]).sigmoid()]
        top = len(self.W)
        for i in range(1, top):
            up = torch.addmm(self.b[i + 1], layers[i], self.W[i], alpha=2 if i + 1 < top else 1)
            layers.append(up.sigmoid())
        for _ in range(iterations or self.iterations):
            layers[1] = torch.addmm(given, layers[2], self.W[1].T).sigmoid()
            for first in (3, 2):
                for index in range(first, top + 1, 2):
                    layers[index] = self.inputs(layers, index).sigmoid()
        return layers

    def energy(self, layers: Layers) -> Tensor:
        """Return E of states or means, (batch,); of means, whose units are independent, it is the expected energy."""
        total = -sum(h @ b for h, b in zip(layers, self.b, strict=True))
        for i, W in enumerate(self.W):
            total = total - (layers[i] @ W * layers[i + 1]).sum(1)
        return cast(Tensor, total)

    def variational_free_energy(self, v: Tensor, iterations: int | None = None) -> Tensor:
        """Return E_q[E] - H(q), (batch,), of v (batch, visible): log p(v) ≥ -this - log Z (eq. 5)."""
        layers = self.mean_field(v, iterations)
        entropy = sum((-torch.xlogy(m, m) - torch.xlogy(1 - m, 1 - m)).sum(1) for m in layers[1:])
        return self.energy(layers) - entropy

    @torch.no_grad()
    def energy_gap(self, data: Layers, fantasy: Layers) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return mean E(data) - mean E(fantasy), 0-d, and its gradient in each W and then each b (eq. 9).

        Args:
            data: v and the means of the hidden layers.
            fantasy: states of chains.
        """
        n, m = len(data[0]), len(fantasy[0])
        weights = [
            torch.addmm(data[i].T @ data[i + 1], fantasy[i].T, fantasy[i + 1], beta=-1 / n, alpha=1 / m)
            for i in range(len(self.W))
        ]
        biases = [f.mean(0) - d.mean(0) for d, f in zip(data, fantasy, strict=True)]
        gradients = (*weights, *biases)
        # E is linear in its parameters, so the gap is their product with the gradient.
        gap = sum(torch.vdot(p.flatten(), g.flatten()) for p, g in zip((*self.W, *self.b), gradients, strict=True))
        return cast(Tensor, gap), gradients

    @torch.no_grad()
    def start(self, n: int) -> Layers:
        """Return the states of n chains at random, (n, units) of each layer."""
        return [torch.rand(n, len(b), dtype=b.dtype, device=b.device).round_() for b in self.b]

    @torch.no_grad()
    def gibbs_layers(self, layers: Layers, steps: int, clamped: bool = False) -> Layers:
        """Return the states after `steps` of Gibbs sampling, odd layers in one block, even ones in another (eq. 2-4).

        Args:
            layers: states of v and of each hidden layer.
            steps: rounds.
            clamped: v stays.
        """
        layers = list(layers)
        for _ in range(steps):
            for first in (1, 0):
                for index in range(first, len(layers), 2):
                    if index or not clamped:
                        layers[index] = draw_bernoulli(self.inputs(layers, index).sigmoid())
        return layers

    def encode(self, x: Tensor) -> Tensor:
        """Return the means of the uppermost layer, (batch, hidden)."""
        return self.mean_field(x.flatten(1))[-1]

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstruct x, up by mean field and down once, (batch, *shape)."""
        layers = self.mean_field(x.flatten(1))
        return self.inputs(layers, 0).sigmoid().view(-1, *self.shape)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Return the probabilities of the visible units at the end of n chains from random states, (n, *shape)."""
        layers = self.gibbs_layers(self.start(n), self.samples_after)
        return self.inputs(layers, 0).sigmoid().view(-1, *self.shape)

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return what `density` reports of x (batch, *shape), rounded to binary."""
        return {"variational_free_energy": self.variational_free_energy(x.flatten(1).round())}

    @torch.no_grad()
    def bipartite(self) -> Bipartite:
        """Return odd layers on one side, even ones, v among them, on the other, summed out (the paper's §3.3)."""
        odd, even = range(1, len(self.b), 2), range(0, len(self.b), 2)
        W = torch.cat([torch.cat([self._weights_between(i, j) for j in even], 1) for i in odd])
        return Bipartite(W, torch.cat([self.b[i] for i in odd]), torch.cat([self.b[i] for i in even]))

    def sides(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of both sides of `bipartite` where v (batch, visible) is seen, (batch, units of each)."""
        layers = self.mean_field(v)
        return torch.cat(layers[1::2], 1), torch.cat(layers[0::2], 1)

    def _weights_between(self, i: int, j: int) -> Tensor:
        """Return the weights from layer i to layer j, (units of i, units of j); zeros where they are no neighbours."""
        weights: Tensor
        if j == i + 1:
            weights = self.W[i]
        elif j == i - 1:
            weights = self.W[j].T
        else:
            weights = self.b[i].new_zeros(len(self.b[i]), len(self.b[j]))
        return weights

    @torch.no_grad()
    def log_partition(self) -> Tensor | None:
        """Return log Z, 0-d float64, by summing over all states of the smaller side; None where they are too many."""
        W, b, c, _ = self.bipartite()
        W, b, c = W.double(), b.double(), c.double()
        if len(b) > len(c):
            W, b, c = W.T, c, b
        if len(b) > MAX_ENUMERABLE:
            return None
        total = torch.tensor(-math.inf, dtype=torch.float64, device=W.device)
        for part in torch.arange(2 ** len(b), device=W.device).split(2**14):
            states = (part[:, None] >> torch.arange(len(b), device=W.device) & 1).double()
            total = torch.logaddexp(total, (states @ b + softplus(states @ W + c).sum(1)).logsumexp(0))
        return total

    def pictures(self) -> dict[str, Tensor]:
        """Draw the weights of each unit of the first hidden layer, for images."""
        if len(self.shape) != 3:
            return {}
        from dlx.figures.figures import plot_filters

        return {"filters": plot_filters(self.W[0].detach().T.cpu(), self.shape)}
