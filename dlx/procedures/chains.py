"""Markov chains that contrastive divergence takes its fantasies from, restarted at the data or persistent.

Persistent: T. Tieleman, "Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient", ICML
2008, https://doi.org/10.1145/1390156.1390290. Fast weights: T. Tieleman, G. Hinton, "Using Fast Weights to Improve
Persistent Contrastive Divergence", ICML 2009, https://doi.org/10.1145/1553374.1553506. Tempered: G. Desjardins,
A. Courville, Y. Bengio, P. Vincent, O. Delalleau, "Tempered Markov Chain Monte Carlo for training of Restricted
Boltzmann Machines", AISTATS 2010, https://proceedings.mlr.press/v9/desjardins10a.html.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.boltzmann.ais import Bipartite
from dlx.models.interfaces import GibbsSampler, Temperable


class RestartedChains:
    """Chains that begin at the data each time: CD-k.

    Args:
        steps: of Gibbs sampling.
    """

    persistent = False

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.states: Tensor | None = None  # (chains, *shape) of those that go on

    def bind(self, model: nn.Module, params: Sequence[Tensor]) -> None:
        """Take the model, and the parameters that learn.

        Raises:
            UsageError: chains of this kind cannot run in it.
        """
        self.model = cast(GibbsSampler, model)

    def advance(self, x: Tensor) -> Tensor:
        """Return the next fantasies, (chains, *shape), beside the data x (batch, *shape)."""
        return self.model.gibbs(x, self.steps)

    def on_update(self, gradients: Sequence[Tensor]) -> None:
        """Take the gradients that the model has just been updated with."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"states": self.states}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self.states = None if state["states"] is None else state["states"].to(device)


class PersistentChains(RestartedChains):
    """Chains that go on from where they were at the last update: PCD.

    Args:
        steps: of Gibbs sampling.
        chains: how many; None takes as many as the first batch has examples.
    """

    persistent = True

    def __init__(self, steps: int, chains: int | None = None) -> None:
        super().__init__(steps)
        self.chains = chains

    def advance(self, x: Tensor) -> Tensor:
        if self.states is None:
            self.states = torch.rand(self.chains or len(x), *x.shape[1:], dtype=x.dtype, device=x.device).round_()
        self.states = self.model.gibbs(self.states, self.steps)
        return self.states


class FastWeightChains(PersistentChains):
    """Persistent chains in a model whose weights are changed for a while by what it just learned, so that they move on.

    Args:
        steps: of Gibbs sampling.
        chains: how many; None takes as many as the first batch has examples.
        lr: learning rate of the fast weights.
        decay: what remains of them at each update; 19/20 in the paper.
    """

    def __init__(self, steps: int, chains: int | None, lr: float, decay: float) -> None:
        super().__init__(steps, chains)
        self.lr, self.decay = lr, decay

    def bind(self, model: nn.Module, params: Sequence[Tensor]) -> None:
        super().bind(model, params)
        self.params = list(params)
        self.fast = [torch.zeros_like(p) for p in params]

    def advance(self, x: Tensor) -> Tensor:
        slow = [p.data for p in self.params]
        for p, fast in zip(self.params, self.fast, strict=True):
            p.data = p.data + fast
        try:
            return super().advance(x)
        finally:
            for p, own in zip(self.params, slow, strict=True):  # put back, not subtracted: no rounding is left behind
                p.data = own

    def on_update(self, gradients: Sequence[Tensor]) -> None:
        for fast, gradient in zip(self.fast, gradients, strict=True):
            fast.mul_(self.decay).sub_(gradient, alpha=self.lr)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "fast": self.fast}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        super().load_state_dict(state, device)
        self.fast = [fast.to(device) for fast in state["fast"]]


class TemperedChains(PersistentChains):
    """Persistent chains with replicas at higher temperatures, which cross between modes and are exchanged.

    The temperatures go from the machine itself (β = 1) to one without weights (β = 0), in equal steps of β.

    Args:
        steps: of Gibbs sampling at each temperature before neighbours may be exchanged.
        chains: how many; None takes as many as the first batch has examples.
        temperatures: replicas of each.
    """

    def __init__(self, steps: int, chains: int | None, temperatures: int) -> None:
        super().__init__(steps, chains)
        self.temperatures = temperatures

    def bind(self, model: nn.Module, params: Sequence[Tensor]) -> None:
        if not isinstance(model, Temperable) or model.bipartite() is None:
            raise UsageError(
                f"procedure.temperatures={self.temperatures} was given for the model {type(model).__name__}; needed: "
                "one with binary hidden units, such as rbm; leave it out, or type procedure.fast_lr=0.01"
            )
        super().bind(model, params)
        self.tempered = model

    @torch.no_grad()
    def advance(self, x: Tensor) -> Tensor:
        machine = self.tempered.bipartite()
        assert machine is not None
        if self.states is None:
            size = (self.temperatures, self.chains or len(x), *x.shape[1:])
            self.states = torch.rand(size, dtype=x.dtype, device=x.device).round_()
        T, N = self.states.shape[:2]
        s = self.states.flatten(0, 1).flatten(1)  # (T · N, visible)
        base = torch.zeros_like(machine.b)
        betas = torch.linspace(1, 0, T, dtype=s.dtype, device=s.device)
        beta = betas.repeat_interleave(N)[:, None]  # (T · N, 1)
        for _ in range(self.steps):
            s = machine.transition(machine.inputs(s), beta, base)
        s = self._exchange_replicas(machine, s.view(T, N, -1), betas, base)
        self.states = s.view(T, N, *x.shape[1:])
        return self.states[0]

    def _exchange_replicas(self, machine: Bipartite, s: Tensor, betas: Tensor, base: Tensor) -> Tensor:
        """Exchange neighbours with Metropolis and Hastings' probability; even pairs first, then odd ones."""
        T, N, _ = s.shape
        inputs = machine.inputs(s.flatten(0, 1)).view(T, N, -1)
        for first in (0, 1):
            for k in range(first, T - 1, 2):
                cool, hot = betas[k].view(1, 1), betas[k + 1].view(1, 1)
                gain = [
                    machine.log_f(s[i], inputs[i], b, base)
                    for i, b in ((k, hot), (k + 1, cool), (k, cool), (k + 1, hot))
                ]
                accept = torch.rand_like(gain[0]).log() < gain[0] + gain[1] - gain[2] - gain[3]  # (N,)
                for both in (s, inputs):
                    both[k], both[k + 1] = (
                        torch.where(accept[:, None], both[k + 1], both[k]),
                        torch.where(accept[:, None], both[k], both[k + 1]),
                    )
        return s


def make_chains(
    steps: int,
    persistent: bool,
    count: int | None,
    fast_lr: float | None,
    fast_decay: float,
    temperatures: int | None,
) -> RestartedChains:
    """Make the chains that a configuration asks for.

    Raises:
        UsageError: two kinds at once, or persistent ones without `persistent`.
    """
    given = {"fast_lr": fast_lr, "temperatures": temperatures}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise UsageError("procedure.fast_lr and procedure.temperatures were given; needed: one of them")
    if asked and not persistent:
        name = asked[0]
        raise UsageError(
            f"procedure.{name}={given[name]} was given for chains that begin at the data; needed: persistent ones; "
            f"type procedure.persistent=true procedure.{name}={given[name]}"
        )
    if fast_lr is not None:
        return FastWeightChains(steps, count, fast_lr, fast_decay)
    if temperatures is not None:
        return TemperedChains(steps, count, temperatures)
    return PersistentChains(steps, count) if persistent else RestartedChains(steps)
