"""Contrastive divergence of many restricted Boltzmann machines at once, in batched products.

Each trial draws from a generator of its own, in the order of a run alone, so that its chains are the same.
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
from dlx.vectorized.not_vectorizable import NotVectorizable
from dlx.vectorized.trial import Trial


class StackedContrastiveDivergence(Engine):
    """Takes `ContrastiveDivergence`'s steps for K machines at once: CD-k, or persistent chains.

    Args:
        trials: trials whose procedures are bound.
        compile: not used; drawing random numbers takes most of the time.

    Raises:
        NotVectorizable: their models are not plain RBMs, or their chains are of another kind.
    """

    def __init__(self, trials: Sequence[Trial], compile: bool | Literal["auto"] = False) -> None:
        self.procedures = [cast(ContrastiveDivergence, trial.parts.procedure) for trial in trials]
        first, model = self.procedures[0], trials[0].parts.model
        if type(model) is not RBM or not all(first.learns):
            raise NotVectorizable(f"contrastive divergence of {type(model).__name__} has no stacked form")
        if type(first.chains) not in (RestartedChains, PersistentChains):
            raise NotVectorizable("fast weights and tempered chains have no stacked form")
        super().__init__(trials, self.procedures)
        self.visible, self.hidden, self.shape = model.visible_kind, model.hidden_kind, model.shape
        self.chains, self.sparsity_target, self.sparsity_weight = (
            first.chains,
            first.sparsity_target,
            first.sparsity_weight,
        )
        self.states: Tensor | None = None  # (K, chains, visible) of persistent ones
        if first.chains.states is not None:
            states: list[Any] = [procedure.chains.states for procedure in self.procedures]
            self.states = torch.stack(states).flatten(2)

    def sync_procedure(self, k: int) -> None:
        super().sync_procedure(k)
        if self.states is not None:
            self.procedures[k].chains.states = self.states[k].view(-1, *self.shape)

    @torch.no_grad()
    def step(self, batch: Batch, per_trial: bool) -> dict[str, Tensor]:
        W, b, c = self.stack.split_rows(self.stack.weights)  # (K, visible, hidden), (K, visible), (K, hidden)
        v = batch.x.flatten(2) if per_trial else batch.x.flatten(1).expand(len(W), -1, -1)  # (K, batch, visible)
        first = torch.baddbmm(c[:, None], v, W)
        if self.chains.persistent:
            x = self._run_persistent_chains(v, W, b, c)
            second = torch.baddbmm(c[:, None], x, W)
        else:
            second = first
            for _ in range(self.chains.steps):
                x = self._sample(self.visible, torch.baddbmm(b[:, None], self._sample(self.hidden, second), W.mT))
                second = torch.baddbmm(c[:, None], x, W)
        h, g = self.hidden.mean(first) / v.shape[1], self.hidden.mean(second) / x.shape[1]
        db = x.mean(1) - v.mean(1)  # (K, visible)
        gap = (
            (b * db).sum(1) + self._log_sum(second) - self._log_sum(first) + self._self_energy(v) - self._self_energy(x)
        )
        dW, dc = torch.baddbmm(x.mT @ g, v.mT, h, alpha=-1), g.sum(1) - h.sum(1)
        values = {"free_energy_gap": gap}
        if self.sparsity_target is not None:
            excess = first.sigmoid().mean(1) - self.sparsity_target  # (K, hidden)
            values["sparsity"] = excess.abs().mean(1)
            dW = dW + self.sparsity_weight * v.mean(1)[:, :, None] * excess[:, None]
            dc = dc + self.sparsity_weight * excess
        gradients = torch.cat([dW.flatten(1), db, dc], 1)
        self.update(self.stack.weights, gradients, list(self.slots.values()), list(self.columns.values()), self.counter)
        self.finish_step()
        if not self.chains.persistent:
            values["sampled_reconstruction_error"] = (v - x).square().mean((1, 2))
        return values

    def _run_persistent_chains(self, v: Tensor, W: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return the chains' visible states, (K, chains, visible), after k more steps."""
        if self.states is None:
            count = cast(PersistentChains, self.chains).chains or v.shape[1]
            self.states = self._fill_noise(v.new_empty(len(W), count, v.shape[2]), normal=False).round_()
        x = self.states
        for _ in range(self.chains.steps):
            h = self._sample(self.hidden, torch.baddbmm(c[:, None], x, W))
            x = self._sample(self.visible, torch.baddbmm(b[:, None], h, W.mT))
        self.states = x
        return x

    def _sample(self, kind: Units, inputs: Tensor) -> Tensor:
        """Draw a state of each unit, as `kind` does."""
        noise = torch.empty_like(inputs)
        if isinstance(kind, Binary):
            return (self._fill_noise(noise, normal=False) < inputs.sigmoid()).to(inputs.dtype)
        return inputs + self._fill_noise(noise, normal=True)

    def _fill_noise(self, into: Tensor, normal: bool) -> Tensor:
        """Fill each trial's part with noise from its own generator, uniform or normal."""
        for member, part in zip(self.members, into, strict=True):
            if normal:
                part.normal_(generator=member.generator)
            else:
                part.uniform_(generator=member.generator)
        return into

    def _log_sum(self, inputs: Tensor) -> Tensor:
        """Return each trial's mean of the hidden units' part of the negative free energy, (K,)."""
        return self.hidden.log_sum(inputs).sum(2).mean(1)

    def _self_energy(self, s: Tensor) -> Tensor:
        """Return each trial's mean of the visible units' own energy, (K,)."""
        return self.visible.self_energy(s.flatten(0, 1)).view(len(s), -1).mean(1)
