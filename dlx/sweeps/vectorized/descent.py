"""Back-propagation of a whole stack: losses, gradients and updates of all trials in one graph of plain operators.

`vmap` batches the loss, and its gradient is taken of the sum, in which every trial has a part of its own. What comes of
it is traced once for each shape of batch and then run without any of that machinery: as it stands, or compiled.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from dlx.batch import Batch
from dlx.models.layers import Regularized, constrained
from dlx.procedures.backprop import Backprop
from dlx.sweeps.vectorized.rules import rule, settings
from dlx.sweeps.vectorized.stack import Stack
from dlx.sweeps.vectorized.unstacked import Unstacked
from dlx.tasks.task import Task

Step = Callable[..., tuple[Tensor, ...]]


class StackedBackprop:
    """What `Backprop` does at a step, for K trials at once.

    Args:
        procedures: of the trials, bound; their optimizers' and schedules' numbers count, not their `step`.
        task: of all of them.

    Raises:
        Unstacked: there is no stacked form of what they do.
    """

    def __init__(self, procedures: Sequence[Backprop], task: Task) -> None:
        self.procedures = list(procedures)
        first = self.procedures[0]
        for name, what in (("compile", first.compile), ("diagnose", first.diagnose), ("clip_value", first.clip_value)):
            if what is not None:
                raise Unstacked(f"procedure.{name} has no stacked form")
        if first.accumulate > 1:
            raise Unstacked("procedure.accumulate has no stacked form")
        self.stack = Stack([one.model for one in self.procedures], task)
        self.optimizers = [one.optimizer for one in self.procedures]
        schedules = [one.schedule for one in self.procedures if one.schedule is not None]
        self.stepping = [schedule for schedule in schedules if schedule.interval == "step"]
        scheduled = bool(schedules)
        self.rule = rule(self.optimizers, moving=scheduled)
        self.watch, self.clip_norm = first.watch, first.clip_norm
        self.bounds = self._bounds()
        self.slots: dict[str, Tensor] = {}
        for name in self.rule.slots:
            kept = [
                [self._kept(o, p, name) for p in m.params] for o, m in zip(self.optimizers, procedures, strict=True)
            ]
            self.slots[name] = self.stack.rows(kept)
        self.counter = torch.zeros((), device=self.stack.device)
        self.steps = 0
        self._share()
        moves = ("lr", *(("momentum", "beta1") if scheduled else ()))
        found = [settings(o.param_groups[0]) for o in self.optimizers]
        self.columns = {
            name: torch.empty(len(found), 1, device=self.stack.device)
            for name in self.rule.numbers
            if name in moves or any(one[name] != found[0][name] for one in found)
        }
        self.columns = {name: column for name, column in self.columns.items() if name in found[0]}
        self.constants = {n: found[0][n] for n in self.rule.numbers if n in found[0] and n not in self.columns}
        self.known: list[list[float]] = []
        self.refresh()
        self.graphs: dict[Any, Step] = {}

    # -- what the trials' own procedures know of it --------------------------------------------------------------------

    @staticmethod
    def _kept(optimizer: torch.optim.Optimizer, p: Tensor, slot: str) -> Tensor:
        kept = optimizer.state.get(p, {}).get(slot)
        return torch.zeros_like(p) if kept is None else kept

    def _share(self) -> None:
        """Let each trial's optimizer hold views of its rows."""
        for k, (procedure, optimizer) in enumerate(zip(self.procedures, self.optimizers, strict=True)):
            optimizer._opt_called = True  # type: ignore[attr-defined]  # what schedulers look for
            for name, rows in self.slots.items():
                if self.rule.has(name, optimizer.param_groups[0]):
                    for p, own in zip(procedure.params, self.stack.pieces(rows[k]), strict=True):
                        optimizer.state[p][name] = own

    def publish(self, k: int) -> None:
        """Bring what a trial's own procedure counts up to date, before its state is saved."""
        procedure = self.procedures[k]
        procedure.updates = self.steps
        if self.rule.counts and self.steps:
            for p in procedure.params:
                self.optimizers[k].state[p]["step"] = torch.tensor(float(self.steps))

    def release(self, k: int) -> None:
        """Let a trial go, with tensors of its own."""
        self.publish(k)
        for p in self.procedures[k].params:
            state = self.optimizers[k].state.get(p, {})
            state.update({name: value.clone() for name, value in state.items() if isinstance(value, Tensor)})
        self.stack.release(k)

    def refresh(self) -> None:
        """Read the numbers again that a schedule may have changed."""
        found = [settings(optimizer.param_groups[0]) for optimizer in self.optimizers]
        values = [[float(one[name]) for one in found] for name in self.columns]
        for column, now, before in zip(self.columns.values(), values, self.known or values, strict=True):
            if now != before or not self.known:
                column.copy_(torch.tensor(now).view(-1, 1))
        self.known = values

    # -- the step ------------------------------------------------------------------------------------------------------

    def step(self, batch: Batch, own: bool) -> dict[str, Tensor]:
        """One step of every trial. Returns values (K,).

        Args:
            batch: of all trials, or (K, batch, …) with one for each.
            own: whether it is one for each.
        """
        watched = bool(self.watch and self.steps % self.watch == 0)
        with torch.no_grad():
            losses, *norms = self._graph(batch, own, watched)(*self._inputs(batch))
        self.steps += 1
        for schedule in self.stepping:
            schedule.step()
        if self.stepping:
            self.refresh()
        return {"loss": losses, **({"gradient_norm": norms[0]} if watched else {})}

    def try_out(self, batch: Batch, own: bool) -> None:
        """Find out, before anything is written, whether a step can be taken.

        Raises:
            Unstacked: it cannot.
        """
        self._graph(batch, own, bool(self.watch))

    def _inputs(self, batch: Batch) -> list[Tensor]:
        return [*self._state(), *(part for part in batch if part is not None)]

    def _state(self) -> list[Tensor]:
        stack = self.stack
        values = [number.values for number in stack.numbers]
        tensors = (self.slots, self.columns, stack.fixed, stack.buffers)
        return [stack.weights, self.counter, *(t for named in tensors for t in named.values()), *values]

    def _graph(self, batch: Batch, own: bool, watched: bool) -> Step:
        key = batch.x.shape, own, watched
        if key not in self.graphs:
            self.graphs[key] = self.trace(batch, own, watched)
        return self.graphs[key]

    def trace(self, batch: Batch, own: bool, watched: bool) -> Step:
        """The step as plain operators.

        Raises:
            Unstacked: something in it cannot be batched.
        """
        (onednn, *_) = torch.backends.mkldnn.set_flags(_enabled=False)  # its LSTM is one operator, not batched
        try:
            with torch.random.fork_rng(), torch.enable_grad():
                inputs = [tensor.clone() for tensor in self._inputs(batch)]
                return make_fx(lambda *given: self._step(given, own, watched))(*inputs)
        except Unstacked:
            raise
        except Exception as error:  # vmap refuses in many ways what it cannot batch
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise Unstacked(f"their step cannot be batched ({type(error).__name__}: {reason[:160]})") from error
        finally:
            torch.backends.mkldnn.set_flags(_enabled=onednn)

    def _step(self, given: Sequence[Tensor], own: bool, watched: bool) -> tuple[Tensor, ...]:
        stack, rest = self.stack, list(given)

        def take(count: int) -> list[Tensor]:
            taken, rest[:] = rest[:count], rest[count:]
            return taken

        (weights, counter), slots, columns = take(2), take(len(self.slots)), take(len(self.columns))
        fixed, buffers, values = take(len(stack.fixed)), take(len(stack.buffers)), take(len(stack.numbers))
        leaves = [piece.detach().requires_grad_() for piece in stack.pieces(weights)]
        losses, moved = stack.losses(leaves, fixed, buffers, values, Batch(*rest), own)
        grads = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        if any(grad is None for grad in grads):
            raise Unstacked("the loss does not reach all of their weights")
        with torch.no_grad():
            g = torch.cat([grad.reshape(len(stack), -1) for grad in grads], 1)
            norms = []
            if watched or self.clip_norm is not None:
                norms.append(torch.linalg.vector_norm(g, dim=1))
            if self.clip_norm is not None:
                g = g * (self.clip_norm / (norms[0] + 1e-6)).clamp(max=1)[:, None]
            counter += 1
            numbers = {**self.constants, **dict(zip(self.columns, columns, strict=True))}
            self.rule(weights, g, dict(zip(self.slots, slots, strict=True)), counter, numbers)
            self._constrain(stack.pieces(weights))
            for buffer, after in zip(buffers, moved, strict=True):
                buffer.copy_(after)
        return losses.detach(), *norms

    # -- norms that are kept within bounds -----------------------------------------------------------------------------

    def _bounds(self) -> dict[int, tuple[int, Tensor]]:
        """Of each bounded parameter, by its place: the dimension of its units, and each trial's bound, (K,)."""
        found = {}
        per_trial = [constrained(procedure.model) for procedure in self.procedures]
        for twins in zip(*per_trial, strict=True):
            if not isinstance(twins[0], Regularized):
                raise Unstacked(f"{type(twins[0]).__name__} is constrained after each step")
            (place,) = (i for i, p in enumerate(self.procedures[0].params) if p is twins[0].weight)
            found[place] = twins[0].units, torch.tensor([float(twin.max_norm) for twin in twins])
        return found

    def _constrain(self, pieces: list[Tensor]) -> None:
        for place, (units, bounds) in self.bounds.items():
            w = pieces[place]  # (K, *shape)
            rest = [d for d in range(1, w.ndim) if d != units + 1]
            norms = torch.linalg.vector_norm(w, dim=rest, keepdim=True)
            most = bounds.to(w).view(-1, *[1] * (w.ndim - 1))
            w.mul_(torch.where(norms > most, most / (norms + 1e-7), 1))
