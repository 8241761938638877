"""The deep belief network: an RBM on top, directed layers below it.

G. E. Hinton, S. Osindero, Y.-W. Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006,
https://doi.org/10.1162/neco.2006.18.7.1527. Layers are learned one after another as RBMs (procedure=greedy), and then
all together: by back-propagation (procedure=fine_tune does both) or by the up-down algorithm (procedure=up_down).
"""

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.boltzmann.ais import Bipartite
from dlx.models.boltzmann.directed import Directed
from dlx.models.boltzmann.rbm import RBM
from dlx.models.boltzmann.units import BinaryWithLabel, draw_bernoulli, softplus
from dlx.types import Count


class DBN(nn.Module):
    """p(v, h¹…hᴸ) = p(v | h¹) … p(hᴸ⁻² | hᴸ⁻¹) p(hᴸ⁻¹, hᴸ), the last factor an RBM's, the others logistic.

    While layers are learned one by one, each directed layer is an RBM of its own, whose weights go both ways. The
    up-down algorithm unties them: `directed` holds the weights of the way down, copied by `untie`, and the RBMs hold
    those of the way up.

    Args:
        shape: of one example, with values in [0, 1].
        hidden: units of each hidden layer, from the data upwards.
        outputs: classes; null where there are none.
        labelled: the top RBM sees the label beside the layer below it, as in the paper's §6: what it finds probable
            classifies. Else a linear layer upon the uppermost layer does, which only back-propagation trains.
        samples_after: Gibbs steps in the top RBM before what `sample` returns.
    """

    accepts = ("image", "vector")
    intensities = True  # data stands for probabilities
    declares: ClassVar[tuple[str | Metric, ...]] = ("variational_free_energy", "free_energy_gap", "generative_error")

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128, 128),
        outputs: Count | None = None,
        labelled: bool = False,
        samples_after: Count = 1000,
    ) -> None:
        super().__init__()
        if not hidden:
            raise UsageError("model.hidden=[] was given; needed: one layer or more; type model.hidden=[128]")
        self.shape, self.samples_after = tuple(shape), samples_after
        self.label_units = outputs if labelled and outputs else 0
        sizes = [math.prod(shape), *hidden]
        self.layers = nn.ModuleList(RBM([n], m) for n, m in itertools.pairwise(sizes[:-1]))
        self.top = RBM([sizes[-2] + self.label_units], sizes[-1])
        if self.label_units:
            self.top.visible_kind = BinaryWithLabel(self.label_units)
        self.directed = nn.ModuleList(Directed(m, n) for n, m in itertools.pairwise(sizes[:-1]))
        self.head = nn.Linear(sizes[-1], outputs) if outputs and not self.label_units else None
        self.register_buffer("untied", torch.zeros((), dtype=torch.bool))

    @property
    def conditional(self) -> bool:
        """Whether samples of one class can be drawn."""
        return bool(self.label_units)

    def stack(self) -> list[nn.Module]:
        """Return the RBMs, from the data upwards."""
        return [*self.layers, self.top]

    def below(self, index: int, batch: Batch) -> Batch:
        """Return what RBM `index` sees of a batch: the means of the layers below it, the top one the label too.

        Raises:
            UsageError: the top RBM wants labels that the batch has not.
        """
        x = batch.x.flatten(1)
        for layer in self.layers[:index]:
            x = cast(RBM, layer).encode(x)
        if self.label_units and index == len(self.layers):
            x = torch.cat([x, self._one_hot(batch.y).to(x.dtype)], 1)
        return Batch(x, batch.y)

    def _one_hot(self, y: Tensor | None) -> Tensor:
        if y is None:
            raise UsageError(
                "model.labelled=true was given for data without labels; needed: classes; type model.labelled=false"
            )
        return F.one_hot(y, self.label_units)

    def rbm(self, index: int) -> RBM:
        """Return the RBM between hidden layers `index` and `index + 1`."""
        return cast(RBM, self.layers[index] if index < len(self.layers) else self.top)

    def up(self, x: Tensor) -> Tensor:
        """Return the means below the top RBM, (batch, units), of x (batch, *shape), each layer from the last means."""
        x = x.flatten(1)
        for layer in self.layers:
            x = cast(RBM, layer).encode(x)
        return x

    def down(self, h: Tensor) -> Tensor:
        """Return the visible probabilities (batch, *shape), drawn on the way down from h below the top RBM."""
        for index in reversed(range(len(self.layers))):
            h = self.generate_below(index, h)
            h = draw_bernoulli(h) if index else h
        return h.view(-1, *self.shape)

    def generate_below(self, index: int, h: Tensor) -> Tensor:
        """Return the probabilities of the units below hidden layer `index + 1`, on the way down."""
        if bool(self.untied):
            result: Tensor = cast(Directed, self.directed[index])(h).sigmoid()
            return result
        return self.rbm(index).decode(h).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (batch, outputs); without classes the means of the uppermost layer, (batch, hidden)."""
        below = self.up(x)
        if self.label_units:
            return -self.label_energies(below)
        h = self.top.encode(below)
        return self.head(h) if self.head is not None else h

    def label_energies(self, below: Tensor) -> Tensor:
        """Return the free energy of the top RBM with each label, (batch, classes), but for what all labels share.

        Args:
            below: (batch, units).
        """
        W, c, n = self.top.W, self.top.c, below.shape[1]
        shared = torch.addmm(c, below, W[:n])  # (batch, hidden)
        joined = softplus(shared[:, None, :] + W[n:]).sum(2)  # (batch, classes)
        return -joined - self.top.b[n:]

    def encode(self, x: Tensor) -> Tensor:
        """Return the means of the uppermost layer, (batch, hidden), the labels left out."""
        below = self.up(x)
        return torch.addmm(self.top.c, below, self.top.W[: below.shape[1]]).sigmoid()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstruct x, up by means and down again, (batch, *shape)."""
        below = self.up(x)
        h = torch.addmm(self.top.c, below, self.top.W[: below.shape[1]]).sigmoid()
        h = self.top.decode(h)[:, : below.shape[1]]
        for index in reversed(range(len(self.layers))):
            h = self.generate_below(index, h)
        return h.view(-1, *self.shape)

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None) -> Tensor:
        """Return the probabilities of the visible units, (n, *shape), below n chains in the top RBM.

        They begin with the layer below all off, which lets the top units come on at their own rates. From a random
        state, where half of that layer is on, chains may stay for thousands of steps among states that no data has.

        Args:
            n: how many.
            labels: classes (n,) that the chains are held to; None lets them go.
        """
        W, b = self.top.W, self.top.b
        v = torch.zeros(n, len(b), dtype=W.dtype, device=W.device)
        if self.label_units:
            v[:, -self.label_units :] = self.top.visible_kind.draw(v)[:, -self.label_units :]
        held = (
            F.one_hot(labels.to(W.device), self.label_units).to(W.dtype)
            if labels is not None and self.label_units
            else None
        )
        for _ in range(self.samples_after):
            if held is not None:
                v = torch.cat([v[:, : -self.label_units], held], 1)
            v = self.top.gibbs(v, 1)
        return self.down(v[:, : len(b) - self.label_units])

    # -- probabilities ---------------------------------------------------------------------------------------------

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return what `density` reports of x (batch, *shape), rounded to binary."""
        return {"variational_free_energy": self.variational_free_energy(x.round())}

    @torch.no_grad()
    def variational_free_energy(self, x: Tensor, draws: int = 10) -> Tensor:
        """Return -E_q[log p(v | h¹) + … + log p*(hᴸ⁻¹)] - H(q), (batch,): log p(v) ≥ -this - log Z of the top RBM.

        Where q(h¹ | v) … are the units of the way up (Salakhutdinov and Murray 2008, §4.3). The expectation over two
        hidden layers or more is the mean over draws; that over none is exact.

        Args:
            x: binary, (batch, *shape).
            draws: of the hidden layers, for each example.
        """
        v = x.flatten(1)
        if not self.layers:
            return self._top_free_energy(v)
        total = torch.zeros(len(v), dtype=v.dtype, device=v.device)
        for _ in range(draws):
            h = v
            for index in range(len(self.layers)):
                q = self.rbm(index).encode(h)
                above = draw_bernoulli(q)
                p = self.generate_below(index, above)
                total += log_bernoulli(h, p) - log_bernoulli(above, q)
                h = above
            total -= self._top_free_energy(h)
        return -total / draws

    def _top_free_energy(self, below: Tensor) -> Tensor:
        """Return the free energy of the top RBM, with the labels summed out, (batch,)."""
        if not self.label_units:
            return self.top.free_energy(below)
        n = below.shape[1]
        return -(below @ self.top.b[:n]) - (-self.label_energies(below)).logsumexp(1)

    def bipartite(self) -> Bipartite | None:
        """Return the top RBM: its partition function is the network's."""
        return self.top.bipartite()

    def log_partition(self) -> Tensor | None:
        """Return log Z of the top RBM, 0-d float64; None where it cannot be summed."""
        return self.top.log_partition()

    # -- the up-down algorithm -------------------------------------------------------------------------------------

    @torch.no_grad()
    def untie(self) -> None:
        """Give the ways up and down weights of their own, the same to begin with."""
        if bool(self.untied):
            return
        for layer, directed in zip(self.layers, self.directed, strict=True):
            rbm, way_down = cast(RBM, layer), cast(Directed, directed)
            way_down.W.copy_(rbm.W.T)
            way_down.b.copy_(rbm.b)
        self.untied.fill_(True)  # type: ignore[operator]

    def wake_sleep_parameters(self) -> list[str]:
        """Return the weights of both ways and the top RBM's, not what only pretraining or a linear layer uses."""
        below = [f"directed.{i}.{p}" for i in range(len(self.directed)) for p in ("W", "b")]
        above = [f"layers.{i}.{p}" for i in range(len(self.layers)) for p in ("W", "c")]
        return [*below, *above, "top.W", "top.b", "top.c"]

    @torch.no_grad()
    def wake_sleep(self, x: Tensor, y: Tensor | None, steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the directions that lower the costs of both phases (the paper's appendix B), by parameter name.

        Wake: states drawn upwards teach the way down. In between the top RBM learns by `steps` of contrastive
        divergence. Sleep: what the chain dreamt at the end, carried down, teaches the way up. The visible units are
        drawn too, as wake-sleep wants it; the appendix leaves them probabilities, and the way up learns from blurred
        images: tried, the classification was the same, but the way down got worse with every pass instead of better.

        Args:
            x: (batch, *shape), with values in [0, 1].
            y: labels (batch,), where the top RBM sees them.
            steps: of Gibbs sampling in the top RBM.

        Returns:
            Values to be logged, 0-d, and the directions.
        """
        self.untie()
        n, directions = len(x), {}
        states = [x.flatten(1)]
        for layer in self.layers:
            states.append(draw_bernoulli(cast(RBM, layer).encode(states[-1])))
        cost = x.new_zeros(())
        for index, directed in enumerate(self.directed):
            below, above = states[index], states[index + 1]
            wrong = cast(Directed, directed)(above).sigmoid() - below
            directions[f"directed.{index}.W"] = above.T @ wrong / n
            directions[f"directed.{index}.b"] = wrong.mean(0)
            cost += wrong.square().mean()
        v = states[-1]
        if self.label_units:
            v = torch.cat([v, self._one_hot(y).to(v.dtype)], 1)
        dream = self.top.gibbs(v, steps)
        gap, (W, b, c) = self.top.free_energy_gap(v, dream)
        directions |= {"top.W": W, "top.b": b, "top.c": c}
        above = dream[:, : states[-1].shape[1]]
        for index in reversed(range(len(self.layers))):
            below = draw_bernoulli(self.generate_below(index, above))
            wrong = self.rbm(index).encode(below) - above
            directions[f"layers.{index}.W"] = below.T @ wrong / n
            directions[f"layers.{index}.c"] = wrong.mean(0)
            above = below
        return {"free_energy_gap": gap, "generative_error": cost}, directions

    def pictures(self) -> dict[str, Tensor]:
        """Draw the weights of each unit of the first hidden layer, for images."""
        if len(self.shape) != 3:
            return {}
        from dlx.figures.figures import plot_filters

        W = self.rbm(0).W.detach()[: math.prod(self.shape)]
        return {"filters": plot_filters(W.T.cpu(), self.shape)}


def log_bernoulli(x: Tensor, p: Tensor) -> Tensor:
    """Return Σ log p(x) of binary units with probabilities p, (batch,)."""
    return (torch.xlogy(x, p.clamp(min=1e-12)) + torch.xlogy(1 - x, (1 - p).clamp(min=1e-12))).sum(1)
