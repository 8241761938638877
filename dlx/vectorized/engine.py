"""The engine of a stack: step all trials at once, and keep their own procedures' state up to date."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.procedures.schedule import Schedule
from dlx.vectorized.rules import get_hyperparameters, make_rule
from dlx.vectorized.stack import Stack
from dlx.vectorized.trial import Trial


class GradientProcedure(Protocol):
    """What procedures have in common that leave the update to an optimizer."""

    params: list[Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Schedule | None


class Engine(ABC):
    """Steps K trials of one procedure.

    Args:
        trials: trials whose procedures are bound. Their optimizers' and schedules' numbers are used, not their `step`.
        procedures: of the trials.

    Raises:
        NotVectorizable: what they do has no stacked form.
    """

    def __init__(self, trials: Sequence[Trial], procedures: Sequence[GradientProcedure]) -> None:
        self.members = [trial.member for trial in trials]
        self.gradient_procedures = list(procedures)
        self.stack = Stack([trial.parts.model for trial in trials], trials[0].parts.task)
        self.optimizers = [one.optimizer for one in procedures]
        schedules = [one.schedule for one in procedures if one.schedule is not None]
        self.step_schedules = [schedule for schedule in schedules if schedule.interval == "step"]
        self.rule = make_rule(self.optimizers, momentum_scheduled=bool(schedules))
        self.slots: dict[str, Tensor] = {}
        for name in self.rule.slots:
            states = [[self._get_state(one.optimizer, p, name) for p in one.params] for one in procedures]
            self.slots[name] = self.stack.to_matrix(states)
        self.steps = self.members[0].step
        self.counter = torch.full((), float(self.steps), device=self.stack.device)
        self._share_state()
        scheduled = ("lr", *(("momentum", "beta1") if schedules else ()))
        groups = [get_hyperparameters(o.param_groups[0]) for o in self.optimizers]
        names = [name for name in self.rule.numbers if name in groups[0]]
        self.columns = {
            name: torch.empty(len(groups), 1, device=self.stack.device)
            for name in names
            if name in scheduled or any(one[name] != groups[0][name] for one in groups)
        }
        self.constants = {name: groups[0][name] for name in names if name not in self.columns}
        self.column_values: list[list[float]] = []
        self.refresh_numbers()

    @abstractmethod
    def step(self, batch: Batch, per_trial: bool) -> Mapping[str, Tensor]:
        """Take one step of every trial. Returns values (K,).

        Args:
            batch: shared by all trials, or (K, batch, …) with one for each.
            per_trial: whether there is one for each.
        """

    def check_step(self, batch: Batch, per_trial: bool) -> None:  # noqa: B027 - a hook
        """Check, before anything is written, that a step can be taken.

        Raises:
            NotVectorizable: it cannot.
        """

    def finish_step(self) -> None:
        """Count a step, and step the schedules that change with each."""
        self.steps += 1
        for schedule in self.step_schedules:
            schedule.step()
        if self.step_schedules:
            self.refresh_numbers()

    # -- the trials' own procedures ------------------------------------------------------------------------------------

    @staticmethod
    def _get_state(optimizer: torch.optim.Optimizer, p: Tensor, slot: str) -> Tensor:
        """Return what an optimizer has kept of a parameter; zeros before its first step."""
        state = optimizer.state.get(p, {}).get(slot)
        return torch.zeros_like(p) if state is None else state

    def _share_state(self) -> None:
        """Let each trial's optimizer hold views of its rows as its state."""
        for k, (procedure, optimizer) in enumerate(zip(self.gradient_procedures, self.optimizers, strict=True)):
            optimizer._opt_called = True  # type: ignore[attr-defined]  # what schedulers look for
            for name, rows in self.slots.items():
                if self.rule.keeps(name, optimizer.param_groups[0]):
                    for p, piece in zip(procedure.params, self.stack.split_rows(rows[k]), strict=True):
                        optimizer.state[p][name] = piece

    def sync_procedure(self, k: int) -> None:
        """Bring what a trial's own procedure counts up to date, before its state is saved."""
        if self.rule.counts_steps and self.steps:
            for p in self.gradient_procedures[k].params:
                self.optimizers[k].state[p]["step"] = torch.tensor(float(self.steps))

    def release(self, k: int) -> None:
        """Detach a trial from the stack, with tensors of its own."""
        self.sync_procedure(k)
        for p in self.gradient_procedures[k].params:
            state = self.optimizers[k].state.get(p, {})
            state.update({name: value.clone() for name, value in state.items() if isinstance(value, Tensor)})
        self.stack.release(k)

    def refresh_numbers(self) -> None:
        """Read the numbers again that a schedule may have changed."""
        groups = [get_hyperparameters(optimizer.param_groups[0]) for optimizer in self.optimizers]
        values = [[float(one[name]) for one in groups] for name in self.columns]
        for column, now, before in zip(self.columns.values(), values, self.column_values or values, strict=True):
            if now != before or not self.column_values:
                column.copy_(torch.tensor(now).view(-1, 1))
        self.column_values = values

    def update(
        self, weights: Tensor, g: Tensor, slots: Sequence[Tensor], columns: Sequence[Tensor], counter: Tensor
    ) -> None:
        """Update the weights (K, P) by their gradients (K, P), and all that goes with them, in place."""
        counter += 1
        numbers = {**self.constants, **dict(zip(self.columns, columns, strict=True))}
        self.rule(weights, g, dict(zip(self.slots, slots, strict=True)), counter, numbers)
