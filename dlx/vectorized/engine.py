"""What takes a stack's steps: the update of all trials, and what their own procedures know of it."""

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
    """What is shared by procedures that leave the update to an optimizer."""

    params: list[Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Schedule | None


class Engine(ABC):
    """K trials of one procedure.

    Args:
        trials: whose procedures are bound. Their optimizers' and schedules' numbers count, not their `step`.
        procedures: of the trials.

    Raises:
        Unstacked: there is no stacked form of what they do.
    """

    def __init__(self, trials: Sequence[Trial], procedures: Sequence[GradientProcedure]) -> None:
        self.members = [trial.member for trial in trials]
        self.descending = list(procedures)
        self.stack = Stack([trial.parts.model for trial in trials], trials[0].parts.task)
        self.optimizers = [one.optimizer for one in procedures]
        schedules = [one.schedule for one in procedures if one.schedule is not None]
        self.stepping = [schedule for schedule in schedules if schedule.interval == "step"]
        self.rule = make_rule(self.optimizers, moving=bool(schedules))
        self.slots: dict[str, Tensor] = {}
        for name in self.rule.slots:
            kept = [[self._kept(one.optimizer, p, name) for p in one.params] for one in procedures]
            self.slots[name] = self.stack.rows(kept)
        self.steps = self.members[0].step
        self.counter = torch.full((), float(self.steps), device=self.stack.device)
        self._share()
        moves = ("lr", *(("momentum", "beta1") if schedules else ()))
        found = [get_hyperparameters(o.param_groups[0]) for o in self.optimizers]
        names = [name for name in self.rule.numbers if name in found[0]]
        self.columns = {
            name: torch.empty(len(found), 1, device=self.stack.device)
            for name in names
            if name in moves or any(one[name] != found[0][name] for one in found)
        }
        self.constants = {name: found[0][name] for name in names if name not in self.columns}
        self.known: list[list[float]] = []
        self.refresh()

    @abstractmethod
    def step(self, batch: Batch, own: bool) -> Mapping[str, Tensor]:
        """One step of every trial. Returns values (K,).

        Args:
            batch: of all trials, or (K, batch, …) with one for each.
            own: whether it is one for each.
        """

    def try_out(self, batch: Batch, own: bool) -> None:  # noqa: B027 - a hook
        """Find out, before anything is written, whether a step can be taken.

        Raises:
            Unstacked: it cannot.
        """

    def stepped(self) -> None:
        """After each step."""
        self.steps += 1
        for schedule in self.stepping:
            schedule.step()
        if self.stepping:
            self.refresh()

    # -- what the trials' own procedures know of it --------------------------------------------------------------------

    @staticmethod
    def _kept(optimizer: torch.optim.Optimizer, p: Tensor, slot: str) -> Tensor:
        kept = optimizer.state.get(p, {}).get(slot)
        return torch.zeros_like(p) if kept is None else kept

    def _share(self) -> None:
        """Let each trial's optimizer hold views of its rows."""
        for k, (procedure, optimizer) in enumerate(zip(self.descending, self.optimizers, strict=True)):
            optimizer._opt_called = True  # type: ignore[attr-defined]  # what schedulers look for
            for name, rows in self.slots.items():
                if self.rule.has(name, optimizer.param_groups[0]):
                    for p, own in zip(procedure.params, self.stack.pieces(rows[k]), strict=True):
                        optimizer.state[p][name] = own

    def publish(self, k: int) -> None:
        """Bring what a trial's own procedure counts up to date, before its state is saved."""
        if self.rule.counts and self.steps:
            for p in self.descending[k].params:
                self.optimizers[k].state[p]["step"] = torch.tensor(float(self.steps))

    def release(self, k: int) -> None:
        """Let a trial go, with tensors of its own."""
        self.publish(k)
        for p in self.descending[k].params:
            state = self.optimizers[k].state.get(p, {})
            state.update({name: value.clone() for name, value in state.items() if isinstance(value, Tensor)})
        self.stack.release(k)

    def refresh(self) -> None:
        """Read the numbers again that a schedule may have changed."""
        found = [get_hyperparameters(optimizer.param_groups[0]) for optimizer in self.optimizers]
        values = [[float(one[name]) for one in found] for name in self.columns]
        for column, now, before in zip(self.columns.values(), values, self.known or values, strict=True):
            if now != before or not self.known:
                column.copy_(torch.tensor(now).view(-1, 1))
        self.known = values

    def updated(
        self, weights: Tensor, g: Tensor, slots: Sequence[Tensor], columns: Sequence[Tensor], counter: Tensor
    ) -> None:
        """Update the weights (K, P) by their gradients (K, P), and all that goes with them, in place."""
        counter += 1
        numbers = {**self.constants, **dict(zip(self.columns, columns, strict=True))}
        self.rule(weights, g, dict(zip(self.slots, slots, strict=True)), counter, numbers)
