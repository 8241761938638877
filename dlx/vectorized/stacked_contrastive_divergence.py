"""Contrastive divergence of many restricted Boltzmann machines at once, in batched products.

Each trial draws from a generator of its own, in the order in which a lone run draws, so that its chains are the same.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.models.boltzmann.rbm import RBM
from dlx.models.boltzmann.units import Binary, Units
from dlx.procedures.chains import PersistentChains, RestartedChains
from dlx.procedures.contrastive_divergence import ContrastiveDivergence
from dlx.vectorized.engine import Engine
from dlx.vectorized.not_vectorizable import Unstacked
from dlx.vectorized.trial import Trial


class StackedContrast(Engine):
    """What `ContrastiveDivergence` does at a step, for K machines at once: CD-k, or persistent chains.

    Args:
        trials: whose procedures are bound.
        compile: nothing here is; drawing random numbers takes most of the time.

    Raises:
        Unstacked: their models are no plain machines, or their chains are of another kind.
    """

    def __init__(self, trials: Sequence[Trial], compile: bool | Literal["auto"] = False) -> None:
        self.procedures = [cast(ContrastiveDivergence, trial.parts.procedure) for trial in trials]
        first, model = self.procedures[0], trials[0].parts.model
        if type(model) is not RBM or not all(first.learns):
            raise Unstacked(f"contrastive divergence of {type(model).__name__} has no stacked form")
        if type(first.chains) not in (RestartedChains, PersistentChains):
            raise Unstacked("fast weights and tempered chains have no stacked form")
        super().__init__(trials, self.procedures)
        self.visible, self.hidden, self.shape = model.visible_kind, model.hidden_kind, model.shape
        self.chains, self.target, self.pull = first.chains, first.sparsity_target, first.sparsity_weight
        self.states: Tensor | None = None  # (K, chains, visible) of persistent ones
        if first.chains.states is not None:
            kept: list[Any] = [procedure.chains.states for procedure in self.procedures]
            self.states = torch.stack(kept).flatten(2)

    def publish(self, k: int) -> None:
        super().publish(k)
        if self.states is not None:
            self.procedures[k].chains.states = self.states[k].view(-1, *self.shape)

    @torch.no_grad()
    def step(self, batch: Batch, own: bool) -> dict[str, Tensor]:
        W, b, c = self.stack.pieces(self.stack.weights)  # (K, visible, hidden), (K, visible), (K, hidden)
        v = batch.x.flatten(2) if own else batch.x.flatten(1).expand(len(W), -1, -1)  # (K, batch, visible)
        first = torch.baddbmm(c[:, None], v, W)
        if self.chains.persistent:
            x = self._persistent(v, W, b, c)
            second = torch.baddbmm(c[:, None], x, W)
        else:
            second = first
            for _ in range(self.chains.steps):
                x = self._draw(self.visible, torch.baddbmm(b[:, None], self._draw(self.hidden, second), W.mT))
                second = torch.baddbmm(c[:, None], x, W)
        h, g = self.hidden.mean(first) / v.shape[1], self.hidden.mean(second) / x.shape[1]
        apart = x.mean(1) - v.mean(1)  # (K, visible)
        gap = (b * apart).sum(1) + self._log_sum(second) - self._log_sum(first) + self._own(v) - self._own(x)
        dW, dc = torch.baddbmm(x.mT @ g, v.mT, h, alpha=-1), g.sum(1) - h.sum(1)
        values = {"free_energy_gap": gap}
        if self.target is not None:
            excess = first.sigmoid().mean(1) - self.target  # (K, hidden)
            values["sparsity"] = excess.abs().mean(1)
            dW = dW + self.pull * v.mean(1)[:, :, None] * excess[:, None]
            dc = dc + self.pull * excess
        gradients = torch.cat([dW.flatten(1), apart, dc], 1)
        self.updated(
            self.stack.weights, gradients, list(self.slots.values()), list(self.columns.values()), self.counter
        )
        self.stepped()
        if not self.chains.persistent:
            values["sampled_reconstruction_error"] = (v - x).square().mean((1, 2))
        return values

    def _persistent(self, v: Tensor, W: Tensor, b: Tensor, c: Tensor) -> Tensor:
        if self.states is None:
            count = cast(PersistentChains, self.chains).chains or v.shape[1]
            self.states = self._noise(v.new_empty(len(W), count, v.shape[2]), normal=False).round_()
        x = self.states
        for _ in range(self.chains.steps):
            h = self._draw(self.hidden, torch.baddbmm(c[:, None], x, W))
            x = self._draw(self.visible, torch.baddbmm(b[:, None], h, W.mT))
        self.states = x
        return x

    def _draw(self, kind: Units, inputs: Tensor) -> Tensor:
        """A state of each unit, as `kind` draws it."""
        noise = torch.empty_like(inputs)
        if isinstance(kind, Binary):
            return (self._noise(noise, normal=False) < inputs.sigmoid()).to(inputs.dtype)
        return inputs + self._noise(noise, normal=True)

    def _noise(self, into: Tensor, normal: bool) -> Tensor:
        for member, own in zip(self.members, into, strict=True):
            if normal:
                own.normal_(generator=member.generator)
            else:
                own.uniform_(generator=member.generator)
        return into

    def _log_sum(self, inputs: Tensor) -> Tensor:  # (K,)
        return self.hidden.log_sum(inputs).sum(2).mean(1)

    def _own(self, s: Tensor) -> Tensor:  # (K,)
        return self.visible.self_energy(s.flatten(0, 1)).view(len(s), -1).mean(1)
