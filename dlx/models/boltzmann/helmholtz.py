"""The Helmholtz machine: a way down that dreams and a way up that recognises, each the other's teacher.

P. Dayan, G. E. Hinton, R. M. Neal, R. S. Zemel, "The Helmholtz machine", Neural Computation 7, 1995,
https://doi.org/10.1162/neco.1995.7.5.889. G. E. Hinton, P. Dayan, B. J. Frey, R. M. Neal, "The wake-sleep algorithm for
unsupervised neural networks", Science 268, 1995, https://doi.org/10.1126/science.7761831.
"""

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.boltzmann.dbn import log_bernoulli
from dlx.models.boltzmann.directed import Directed
from dlx.models.boltzmann.units import draw_bernoulli
from dlx.types import Count


class Helmholtz(nn.Module):
    """p(v, h) = p(hᴸ) p(hᴸ⁻¹ | hᴸ) … p(v | h¹) and q(h | v) = q(h¹ | v) … q(hᴸ | hᴸ⁻¹), binary units throughout.

    Args:
        shape: of one example, with values in [0, 1].
        hidden: units of each hidden layer, from the data upwards.
        draws: of the hidden layers, for each example whose likelihood is bounded.
    """

    accepts = ("image", "vector")
    intensities = True  # data stands for probabilities
    declares: ClassVar[tuple[str | Metric, ...]] = ("log_likelihood_bound", "generative_error")

    def __init__(self, shape: Sequence[int], hidden: Sequence[Count] = (128, 64), draws: Count = 10) -> None:
        super().__init__()
        if not hidden:
            raise UsageError("model.hidden=[] was given; needed: one layer or more; type model.hidden=[128]")
        self.shape, self.draws = tuple(shape), draws
        sizes = [math.prod(shape), *hidden]
        self.up = nn.ModuleList(Directed(n, m) for n, m in itertools.pairwise(sizes))
        self.down = nn.ModuleList(Directed(m, n) for n, m in itertools.pairwise(sizes))
        self.top = nn.Parameter(torch.zeros(sizes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the uppermost layer, (batch, hidden), for x (batch, *shape)."""
        h = x.flatten(1)
        for layer in self.up:
            h = layer(h).sigmoid()
        return h

    def encode(self, x: Tensor) -> Tensor:
        """Return the means of the uppermost layer, (batch, hidden)."""
        result: Tensor = self(x)
        return result

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Reconstruct x, up and down by means, (batch, *shape)."""
        h = self(x)
        for layer in reversed(self.down):
            h = layer(h).sigmoid()
        result: Tensor = h.view(-1, *self.shape)
        return result

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Return the probabilities of the visible units of n dreams, (n, *shape)."""
        return self.dream(n)[0].view(n, *self.shape)

    def dream(self, n: int) -> list[Tensor]:
        """Return the states of each layer, v first and as probabilities, (n, units)."""
        states = [draw_bernoulli(self.top.sigmoid().expand(n, -1))]
        for layer in reversed(self.down):
            p = layer(states[0]).sigmoid()
            states.insert(0, p if len(states) == len(self.down) else draw_bernoulli(p))
        return states

    def recognise(self, v: Tensor) -> list[Tensor]:
        """Return v and the states of each hidden layer drawn upwards, (batch, units)."""
        states = [v]
        for layer in self.up:
            states.append(draw_bernoulli(layer(states[-1]).sigmoid()))
        return states

    @torch.no_grad()
    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Return the variational bound on log p(v), (batch,) nats, of x (batch, *shape) rounded to binary."""
        v = x.flatten(1).round()
        total = torch.zeros(len(v), dtype=v.dtype, device=v.device)
        for _ in range(self.draws):
            total += self.log_ratio(self.recognise(v))
        return {"log_likelihood_bound": total / self.draws}

    def log_ratio(self, states: list[Tensor]) -> Tensor:
        """Return log p(v, h) - log q(h | v), (batch,)."""
        total = log_bernoulli(states[-1], self.top.sigmoid().expand_as(states[-1]))
        for below, above, up, down in zip(states[:-1], states[1:], self.up, self.down, strict=True):
            total = total + log_bernoulli(below, down(above).sigmoid()) - log_bernoulli(above, up(below).sigmoid())
        return total

    def wake_sleep_parameters(self) -> list[str]:
        """Return the names of all parameters."""
        return [name for name, _ in self.named_parameters()]

    @torch.no_grad()
    def wake_sleep(self, x: Tensor, y: Tensor | None, steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the directions that lower the costs of both phases, by parameter name, and values to be logged.

        Args:
            x: (batch, *shape), with values in [0, 1].
            y: not looked at.
            steps: not used: a dream begins at the top, without a chain.
        """
        n, directions = len(x), {}
        awake = self.recognise(x.flatten(1))
        directions["top"] = self.top.sigmoid() - awake[-1].mean(0)
        cost = x.new_zeros(())
        for index, layer in enumerate(self.down):
            wrong = cast(Directed, layer)(awake[index + 1]).sigmoid() - awake[index]
            directions[f"down.{index}.W"] = awake[index + 1].T @ wrong / n
            directions[f"down.{index}.b"] = wrong.mean(0)
            cost += wrong.square().mean()
        asleep = self.dream(n)
        asleep[0] = draw_bernoulli(asleep[0])  # the way up meets data, not blurred dreams
        for index, layer in enumerate(self.up):
            wrong = cast(Directed, layer)(asleep[index]).sigmoid() - asleep[index + 1]
            directions[f"up.{index}.W"] = asleep[index].T @ wrong / n
            directions[f"up.{index}.b"] = wrong.mean(0)
        return {"generative_error": cost}, directions

    def pictures(self) -> dict[str, Tensor]:
        """Draw what each unit of the first hidden layer draws, for images."""
        if len(self.shape) != 3:
            return {}
        from dlx.figures.figures import plot_filters

        return {"filters": plot_filters(cast(Directed, self.down[0]).W.detach().cpu(), self.shape)}
