"""Backpropagation of a stack: losses, gradients and updates of all trials in one graph of plain operators.

`vmap` batches the loss, and the gradient is that of the sum, in which every trial has a term of its own. The operators
are recorded once for each shape of batch and then replayed without any of that machinery: as they are, or compiled.
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
from dlx.vectorized.not_vectorizable import NotVectorizable
from dlx.vectorized.recording import MemoryPool, Replay, record_ops
from dlx.vectorized.trial import Trial

TIMED_STEPS = 50  # steps whose time predicts that of the others
COMPILE_SAVING = 0.4  # share of a step's time that compiling saves
COMPILE_SECONDS = 15.0  # what it costs at first


class StackedBackprop(Engine):
    """Takes `Backprop`'s steps for K trials at once.

    Args:
        trials: trials whose procedures are bound.
        compile: whether to compile the graph with torch's compiler; `auto` estimates how long the remaining steps take.

    Raises:
        NotVectorizable: what they do has no stacked form.
    """

    def __init__(self, trials: Sequence[Trial], compile: bool | Literal["auto"] = False) -> None:
        self.procedures = [cast(Backprop, trial.parts.procedure) for trial in trials]
        first = self.procedures[0]
        for name, what in (("compile", first.compile), ("diagnose", first.diagnose), ("clip_value", first.clip_value)):
            if what is not None:
                raise NotVectorizable(f"procedure.{name} has no stacked form")
        if first.accumulate > 1:
            raise NotVectorizable("procedure.accumulate has no stacked form")
        super().__init__(trials, self.procedures)  # type: ignore[arg-type]
        self.grad_norm_every, self.clip_norm = first.grad_norm_every, first.clip_norm
        self.max_norms = self._find_max_norms()
        self.graphs: dict[Any, Replay] = {}
        self.memory: MemoryPool = {}
        # The written-out cells leave a compiler nothing to improve.
        self.compile = False if self.stack.has_stacked_cells else compile
        self.full_batch = trials[0].parts.data.batch
        trainer = trials[0].member
        planned = trainer.epochs * trials[0].parts.data.steps
        self.total_steps = min(planned, trainer.max_steps or planned)
        self.timed_since: float | None = None  # when the first of the steps began that `auto` times
        self.compiled_graph: Any = None  # for full batches

    def sync_procedure(self, k: int) -> None:
        super().sync_procedure(k)
        self.procedures[k].updates = self.steps

    def step(self, batch: Batch, per_trial: bool) -> dict[str, Tensor]:
        with_norms = bool(self.grad_norm_every and self.steps % self.grad_norm_every == 0)
        full = batch.x.shape[1 if per_trial else 0] == self.full_batch
        if full and self.compile and self.compiled_graph is None and self._should_compile():
            self.compiled_graph = CompiledGraph(self, batch, per_trial)
        with torch.no_grad():
            compiled = self.compiled_graph if full else None
            graph = compiled if compiled is not None else self._get_graph(batch, per_trial, with_norms)
            losses, *norms = graph(*self._list_inputs(batch))
        self.finish_step()
        return {"loss": losses, **({"gradient_norm": norms[0]} if with_norms else {})}

    def check_step(self, batch: Batch, per_trial: bool) -> None:
        self._get_graph(batch, per_trial, bool(self.grad_norm_every))

    def _get_time(self) -> float:
        """Return seconds: on a CPU the process' own, which other programs on the machine do not stretch."""
        return time.process_time() if self.stack.device.type == "cpu" else time.monotonic()

    def _should_compile(self) -> bool:
        """Whether compiling now pays for itself in the steps that are left."""
        if self.compile is True:
            return True
        if self.timed_since is None:
            self.timed_since, self.timed_from = self._get_time(), self.steps
        taken = self.steps - self.timed_from
        if taken < TIMED_STEPS:
            return False
        left = (self.total_steps - self.steps) * (self._get_time() - self.timed_since) / taken
        if left * COMPILE_SAVING < COMPILE_SECONDS:
            self.compile = False
        return bool(self.compile)

    def _list_inputs(self, batch: Batch) -> list[Tensor]:
        """Return the inputs of the graph: the state and the batch."""
        return [*self._list_state(), *(part for part in batch if part is not None)]

    def _list_state(self) -> list[Tensor]:
        """Return all tensors that a step reads or changes, in the order in which `_compute_step` takes them."""
        stack = self.stack
        values = [number.values for number in stack.numbers]
        tensors = (self.slots, self.columns, stack.fixed, stack.buffers)
        return [stack.weights, self.counter, *(t for named in tensors for t in named.values()), *values]

    def _get_graph(self, batch: Batch, per_trial: bool, with_norms: bool) -> Replay:
        """Return the recorded graph for batches of this shape."""
        key = batch.x.shape, per_trial, with_norms
        if key not in self.graphs:
            self.graphs[key] = self.trace(batch, per_trial, with_norms)
        return self.graphs[key]

    def trace(self, batch: Batch, per_trial: bool, with_norms: bool) -> Replay:
        """Record the step as plain operators.

        Raises:
            NotVectorizable: something in it cannot be batched.
        """
        (onednn, *_) = torch.backends.mkldnn.set_flags(_enabled=False)  # its LSTM is one operator, not batched
        try:
            with torch.random.fork_rng(), torch.enable_grad():
                inputs = [tensor.clone() for tensor in self._list_inputs(batch)]
                return record_ops(lambda *given: self._compute_step(given, per_trial, with_norms), inputs, self.memory)
        except NotVectorizable:
            raise
        except Exception as error:  # vmap raises many types of errors for what it cannot batch
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NotVectorizable(f"their step cannot be batched ({type(error).__name__}: {reason[:160]})") from error
        finally:
            torch.backends.mkldnn.set_flags(_enabled=onednn)

    def _compute_step(self, inputs: Sequence[Tensor], per_trial: bool, with_norms: bool) -> tuple[Tensor, ...]:
        """Take one step of all trials, in place. Returns the losses, and the gradients' norms, (K,) each."""
        stack, rest = self.stack, list(inputs)

        def take(count: int) -> list[Tensor]:
            taken, rest[:] = rest[:count], rest[count:]
            return taken

        (weights, counter), slots, columns = take(2), take(len(self.slots)), take(len(self.columns))
        fixed, buffers, values = take(len(stack.fixed)), take(len(stack.buffers)), take(len(stack.numbers))
        leaves = [piece.detach().requires_grad_() for piece in stack.split_rows(weights)]
        losses, updated_buffers = stack.compute_losses(leaves, fixed, buffers, values, Batch(*rest), per_trial)
        grads = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        if any(grad is None for grad in grads):
            raise NotVectorizable("the loss does not reach all of their weights")
        with torch.no_grad():
            g = torch.cat([grad.reshape(len(stack), -1) for grad in grads], 1)
            norms = []
            if with_norms or self.clip_norm is not None:
                norms.append(torch.linalg.vector_norm(g, dim=1))
            if self.clip_norm is not None:
                g = g * (self.clip_norm / (norms[0] + 1e-6)).clamp(max=1)[:, None]
            self.update(weights, g, slots, columns, counter)
            self._constrain(stack.split_rows(weights))
            for buffer, after in zip(buffers, updated_buffers, strict=True):
                buffer.copy_(after)
        return losses.detach(), *norms

    # -- max-norm constraints ------------------------------------------------------------------------------------------

    def _find_max_norms(self) -> dict[int, tuple[int, Tensor]]:
        """Return, by each constrained parameter's place, the dimension of its units and each trial's max norm, (K,)."""
        max_norms = {}
        layers = [find_constrained(procedure.model) for procedure in self.procedures]
        for twins in zip(*layers, strict=True):
            if not isinstance(twins[0], Regularized) or twins[0].constraints:
                raise NotVectorizable(f"{type(twins[0]).__name__} is constrained after each step")
            (place,) = (i for i, p in enumerate(self.procedures[0].params) if p is twins[0].weight)
            max_norms[place] = twins[0].unit_dim, torch.tensor([float(twin.max_norm) for twin in twins])
        return max_norms

    def _constrain(self, pieces: list[Tensor]) -> None:
        """Scale the weights of units whose norm is too large, in place."""
        for place, (units, bounds) in self.max_norms.items():
            w = pieces[place]  # (K, *shape)
            rest = [d for d in range(1, w.ndim) if d != units + 1]
            norms = torch.linalg.vector_norm(w, dim=rest, keepdim=True)
            most = bounds.to(w).view(-1, *[1] * (w.ndim - 1))
            w.mul_(torch.where(norms > most, most / (norms + 1e-7), 1))


class CompiledGraph:
    """The compiled step of full batches, which always returns the gradients' norms too.

    Args:
        engine: the engine whose step it is.
        batch: an example of the batches to come.
        per_trial: whether each trial has a batch of its own.
    """

    def __init__(self, engine: StackedBackprop, batch: Batch, per_trial: bool) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        inputs = [tensor.clone() for tensor in engine._list_inputs(batch)]
        engine.rule.use_kernel = False
        with torch.random.fork_rng(), torch.enable_grad():
            graph = make_fx(lambda *given: engine._compute_step(given, per_trial, with_norms=True))(*inputs)
        self.call = torch.compile(graph, fullgraph=True, dynamic=False)
        self.is_warm = False

    def __call__(self, *inputs: Tensor) -> Any:
        """Take a step, as the recorded graph does."""
        # Nothing changes from step to step that the guards check, and checking takes a tenth of a small stack's step.
        stance = torch.compiler.set_stance("default", skip_guard_eval_unsafe=True) if self.is_warm else nullcontext()
        with stance:
            out = self.call(*inputs)
        self.is_warm = True
        return out
