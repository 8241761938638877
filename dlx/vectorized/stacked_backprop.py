"""Back-propagation of a whole stack: losses, gradients and updates of all trials in one graph of plain operators.

`vmap` batches the loss, and its gradient is taken of the sum, in which every trial has a part of its own. What comes of
it is recorded once for each shape of batch and then played without any of that machinery: as it stands, or compiled.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.models.layers import Regularized, find_constrained
from dlx.procedures.backprop import Backprop
from dlx.vectorized.engine import Engine
from dlx.vectorized.not_vectorizable import Unstacked
from dlx.vectorized.recording import Memory, Played, record
from dlx.vectorized.trial import Trial

LOOKED_AT = 50  # steps whose time tells what the others will take
SAVED, COMPILING = 0.4, 15.0  # part of a step's time that compiling saves; seconds that it takes at first


class StackedBackprop(Engine):
    """What `Backprop` does at a step, for K trials at once.

    Args:
        trials: whose procedures are bound.
        compile: the graph with torch's compiler; `auto` looks how long the steps take that are left.

    Raises:
        Unstacked: there is no stacked form of what they do.
    """

    def __init__(self, trials: Sequence[Trial], compile: bool | Literal["auto"] = False) -> None:
        self.procedures = [cast(Backprop, trial.parts.procedure) for trial in trials]
        first = self.procedures[0]
        for name, what in (("compile", first.compile), ("diagnose", first.diagnose), ("clip_value", first.clip_value)):
            if what is not None:
                raise Unstacked(f"procedure.{name} has no stacked form")
        if first.accumulate > 1:
            raise Unstacked("procedure.accumulate has no stacked form")
        super().__init__(trials, self.procedures)  # type: ignore[arg-type]
        self.grad_norm_every, self.clip_norm = first.grad_norm_every, first.clip_norm
        self.bounds = self._bounds()
        self.graphs: dict[Any, Played] = {}
        self.memory: Memory = {}
        self.compile = False if self.stack.swept else compile  # what is written out leaves a compiler nothing
        self.full = trials[0].parts.data.batch
        trainer = trials[0].member
        planned = trainer.epochs * trials[0].parts.data.steps
        self.last = min(planned, trainer.max_steps or planned)
        self.begun: float | None = None  # when the first of the steps that `auto` goes by began
        self.graph: Any = None  # compiled, for full batches

    def publish(self, k: int) -> None:
        super().publish(k)
        self.procedures[k].updates = self.steps

    def step(self, batch: Batch, own: bool) -> dict[str, Tensor]:
        watched = bool(self.grad_norm_every and self.steps % self.grad_norm_every == 0)
        full = batch.x.shape[1 if own else 0] == self.full
        if full and self.compile and self.graph is None and self._pays():
            self.graph = CompiledGraph(self, batch, own)
        with torch.no_grad():
            graph = self.graph if full and self.graph is not None else self._graph(batch, own, watched)
            losses, *norms = graph(*self._inputs(batch))
        self.stepped()
        return {"loss": losses, **({"gradient_norm": norms[0]} if watched else {})}

    def try_out(self, batch: Batch, own: bool) -> None:
        self._graph(batch, own, bool(self.grad_norm_every))

    def _clock(self) -> float:
        """Seconds: on a processor its own, which other programs on the machine do not stretch."""
        return time.process_time() if self.stack.device.type == "cpu" else time.monotonic()

    def _pays(self) -> bool:
        """Whether it is time to compile."""
        if self.compile is True:
            return True
        if self.begun is None:
            self.begun, self.beginning = self._clock(), self.steps
        taken = self.steps - self.beginning
        if taken < LOOKED_AT:
            return False
        left = (self.last - self.steps) * (self._clock() - self.begun) / taken
        if left * SAVED < COMPILING:
            self.compile = False
        return bool(self.compile)

    def _inputs(self, batch: Batch) -> list[Tensor]:
        return [*self._state(), *(part for part in batch if part is not None)]

    def _state(self) -> list[Tensor]:
        stack = self.stack
        values = [number.values for number in stack.numbers]
        tensors = (self.slots, self.columns, stack.fixed, stack.buffers)
        return [stack.weights, self.counter, *(t for named in tensors for t in named.values()), *values]

    def _graph(self, batch: Batch, own: bool, watched: bool) -> Played:
        key = batch.x.shape, own, watched
        if key not in self.graphs:
            self.graphs[key] = self.trace(batch, own, watched)
        return self.graphs[key]

    def trace(self, batch: Batch, own: bool, watched: bool) -> Played:
        """The step as plain operators.

        Raises:
            Unstacked: something in it cannot be batched.
        """
        (onednn, *_) = torch.backends.mkldnn.set_flags(_enabled=False)  # its LSTM is one operator, not batched
        try:
            with torch.random.fork_rng(), torch.enable_grad():
                inputs = [tensor.clone() for tensor in self._inputs(batch)]
                return record(lambda *given: self._step(given, own, watched), inputs, self.memory)
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
            self.updated(weights, g, slots, columns, counter)
            self._constrain(stack.pieces(weights))
            for buffer, after in zip(buffers, moved, strict=True):
                buffer.copy_(after)
        return losses.detach(), *norms

    # -- norms that are kept within bounds -----------------------------------------------------------------------------

    def _bounds(self) -> dict[int, tuple[int, Tensor]]:
        """Of each bounded parameter, by its place: the dimension of its units, and each trial's bound, (K,)."""
        found = {}
        per_trial = [find_constrained(procedure.model) for procedure in self.procedures]
        for twins in zip(*per_trial, strict=True):
            if not isinstance(twins[0], Regularized):
                raise Unstacked(f"{type(twins[0]).__name__} is constrained after each step")
            (place,) = (i for i, p in enumerate(self.procedures[0].params) if p is twins[0].weight)
            found[place] = twins[0].unit_dim, torch.tensor([float(twin.max_norm) for twin in twins])
        return found

    def _constrain(self, pieces: list[Tensor]) -> None:
        for place, (units, bounds) in self.bounds.items():
            w = pieces[place]  # (K, *shape)
            rest = [d for d in range(1, w.ndim) if d != units + 1]
            norms = torch.linalg.vector_norm(w, dim=rest, keepdim=True)
            most = bounds.to(w).view(-1, *[1] * (w.ndim - 1))
            w.mul_(torch.where(norms > most, most / (norms + 1e-7), 1))


class CompiledGraph:
    """The step of full batches, compiled; it always gives the gradients' norms.

    Args:
        engine: whose step it is.
        batch: such as it will see.
        own: whether each trial has one of its own.
    """

    def __init__(self, engine: StackedBackprop, batch: Batch, own: bool) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        inputs = [tensor.clone() for tensor in engine._inputs(batch)]
        engine.rule.kernel = False
        with torch.random.fork_rng(), torch.enable_grad():
            graph = make_fx(lambda *given: engine._step(given, own, watched=True))(*inputs)
        self.call = torch.compile(graph, fullgraph=True, dynamic=False)
        self.warm = False

    def __call__(self, *inputs: Tensor) -> Any:
        """As the recorded graph."""
        # Nothing changes from step to step that the guards look at, and looking takes a tenth of a small stack's step.
        trust = torch.compiler.set_stance("default", skip_guard_eval_unsafe=True) if self.warm else nullcontext()
        with trust:
            out = self.call(*inputs)
        self.warm = True
        return out
