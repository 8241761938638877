"""Contrastive divergence: descend the gap between the free energy of data and of what the model makes of it.

G. E. Hinton, Neural Computation 14, 2002, https://doi.org/10.1162/089976602760128018. Persistent chains: T. Tieleman,
"Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient", ICML 2008,
https://doi.org/10.1145/1390156.1390290.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.optimizers.fused import made, undecorated, updater
from dlx.procedures.procedure import Procedure
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task
from dlx.types import Count


@runtime_checkable
class EnergyModel(Protocol):
    """What contrastive divergence needs of a model.

    One that knows its gradient offers `free_energy_gap(v, fantasy)` too: the difference of the mean free energies, and
    the gradients of all its parameters in their order; others are differentiated by autograd.
    """

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v), (batch,), of v (batch, *shape), differentiable in the parameters."""

    def gibbs(self, v: Tensor, steps: int) -> Tensor:
        """States (batch, *shape) after `steps` of Gibbs sampling from v."""


class ContrastiveDivergence(Procedure):
    """Minimises mean F(data) - mean F(fantasy), the fantasy held fixed: the positive and the negative phase.

    Args:
        optimizer: a torch.optim class without its parameters.
        scheduler: a torch.optim.lr_scheduler class without its optimizer.
        steps: Gibbs steps (the k of CD-k) before each update.
        persistent: go on from where the chains were at the last update (PCD) instead of from the data.
        chains: how many persistent ones; null takes as many as the first batch has examples.
    """

    requires = EnergyModel

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        steps: Count = 1,
        persistent: bool = False,
        chains: Count | None = None,
    ) -> None:
        self.make_optimizer, self.make_schedule = optimizer, scheduler
        self.steps, self.persistent, self.chains = steps, persistent, chains
        self.states: Tensor | None = None  # (chains, *shape), of the persistent chains

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.energy = cast(EnergyModel, model)
        self.params = [p for p in model.parameters() if p.requires_grad]
        frozen = len(self.params) < len(list(model.parameters()))
        self.gap = self._gap if frozen else getattr(model, "free_energy_gap", self._gap)
        with undecorated():
            self.optimizer = made(self.make_optimizer, self.params)
        self.schedule = self.make_schedule(self.optimizer) if self.make_schedule else None
        self.update = updater(self.optimizer, self.params)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        fantasy = self._fantasy(batch.x)
        gap, gradients = self.gap(batch.x, fantasy)
        self.update(gradients)
        if self.schedule is not None:
            self.schedule.step()
        values = {"free_energy_gap": gap}
        if not self.persistent:  # a persistent chain is nobody's reconstruction
            values["sampled_reconstruction_error"] = (batch.x - fantasy).square().mean()
        return values

    def _gap(self, v: Tensor, fantasy: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        gap = self.energy.free_energy(v).mean() - self.energy.free_energy(fantasy).mean()
        return gap.detach(), torch.autograd.grad(gap, self.params)

    def _fantasy(self, x: Tensor) -> Tensor:
        if not self.persistent:
            return self.energy.gibbs(x, self.steps)
        if self.states is None:
            self.states = torch.rand(self.chains or len(x), *x.shape[1:], dtype=x.dtype, device=x.device).round_()
        self.states = self.energy.gibbs(self.states, self.steps)
        return self.states

    def end_epoch(self) -> dict[str, Tensor]:
        if self.schedule is not None:
            self.schedule.end_epoch()
        return {"lr": torch.tensor(float(self.optimizer.param_groups[0]["lr"]), dtype=torch.float64)}

    def validated(self, metrics: dict[str, float]) -> None:
        if self.schedule is not None and self.task.monitor in metrics:
            self.schedule.validated(metrics[self.task.monitor])

    def state_dict(self) -> dict[str, Any]:
        with undecorated():
            optimizer = self.optimizer.state_dict()
        schedule = self.schedule.state_dict() if self.schedule else None
        return {**super().state_dict(), "optimizer": optimizer, "schedule": schedule, "states": self.states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        states = state["states"]
        self.states = None if states is None else states.to(self.params[0].device)
