"""Contrastive divergence: descend the gap between the free energies of the data and of the model's fantasies.

G. E. Hinton, Neural Computation 14, 2002, https://doi.org/10.1162/089976602760128018. The fantasies come from
chains.py.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Contrast, EnergyModel, FreeEnergyGap, Sparse
from dlx.procedures.chains import make_chains
from dlx.procedures.descent import Descent
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task
from dlx.types import Count, NonNegative, Positive, Probability


class ContrastiveDivergence(Descent):
    """Minimise mean F(data) - mean F(fantasy), the fantasy held fixed: the positive and the negative phase.

    Args:
        optimizer: a torch.optim class without its parameters.
        scheduler: a torch.optim.lr_scheduler class without its optimizer.
        steps: Gibbs steps (the k of CD-k) before each update.
        persistent: go on from where the chains were at the last update (PCD) instead of from the data.
        chains: how many persistent ones; null takes as many as the first batch has examples.
        fast_lr: learning rate of fast weights, which keep persistent chains moving; null for none.
        fast_decay: what remains of the fast weights at each update.
        temperatures: replicas of each persistent chain, from the machine itself to one without weights, which are
            exchanged; null for none.
        sparsity_target: mean activity that each hidden unit is drawn to; null for none.
        sparsity_weight: how strongly.
    """

    requires = EnergyModel
    apart = ("states",)
    declares: ClassVar[tuple[str | Metric, ...]] = ("free_energy_gap", "sparsity", "sampled_reconstruction_error")

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        steps: Count = 1,
        persistent: bool = False,
        chains: Count | None = None,
        fast_lr: Positive | None = None,
        fast_decay: Probability = 0.95,
        temperatures: Count | None = None,
        sparsity_target: Probability | None = None,
        sparsity_weight: NonNegative = 0.1,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.chains = make_chains(steps, persistent, chains, fast_lr, fast_decay, temperatures)
        self.sparsity_target, self.sparsity_weight = sparsity_target, sparsity_weight

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.energy = cast(EnergyModel, model)
        self.learns = [p.requires_grad for p in model.parameters()]
        whole = all(self.learns)  # else a model's own gradients are more than are asked for
        self.gap = model.free_energy_gap if whole and isinstance(model, FreeEnergyGap) else self._compute_gap
        at_data = whole and not self.chains.persistent
        self.contrast = model.contrast if at_data and isinstance(model, Contrast) else None
        if self.sparsity_target is not None and not isinstance(model, Sparse):
            raise UsageError(
                f"procedure.sparsity_target={self.sparsity_target} was given for the model {type(model).__name__}; "
                "needed: one with sparsity_gradient, such as rbm; leave it out"
            )
        self.chains.bind(model, self.params)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        if self.contrast is not None:
            fantasy, gap, gradients = self.contrast(batch.x, self.chains.steps)
        else:
            fantasy = self.chains.advance(batch.x)
            gap, gradients = self.gap(batch.x, fantasy)
        values = {"free_energy_gap": gap}
        if self.sparsity_target is not None:
            values["sparsity"], pull = cast(Sparse, self.model).sparsity_gradient(batch.x, self.sparsity_target)
            mine = [g for g, learns in zip(pull, self.learns, strict=True) if learns]
            gradients = tuple(g + self.sparsity_weight * p for g, p in zip(gradients, mine, strict=True))
        gradients = self.average_gradients(gradients)
        self.update(gradients)
        self.chains.on_update(gradients)
        self.advance()
        if not self.chains.persistent:  # a persistent chain is nobody's reconstruction
            values["sampled_reconstruction_error"] = (batch.x - fantasy).square().mean()
        return values

    def _compute_gap(self, v: Tensor, fantasy: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        gap = self.energy.free_energy(v).mean() - self.energy.free_energy(fantasy).mean()
        return gap.detach(), torch.autograd.grad(gap, self.params)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **self.chains.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.chains.load_state_dict(state, self.params[0].device)
