"""A whole step as one compiled graph: loss, gradient and update, with no Python between them.

Compiling a module alone leaves the optimizer and the loss outside and gains nothing on small networks. Here the
gradient is taken functionally (torch.func) and the update is written as the papers' equations, so that one graph holds
all of it. The optimizer's own state is updated in place: `state_dict` is the same as without compilation.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.optimizers.fused import separate_step_counters
from dlx.tasks.task import Task

Tensors = list[Tensor]
Lists = dict[str, list[Tensor]]


class CompiledStep:
    """Loss, gradient, clipping and update in one graph.

    Args:
        model, task: what is differentiated.
        optimizer: plain SGD, Adam or AdamW with one parameter group.
        penalised: submodules whose `penalty()` belongs to the loss.
        clip_norm: bound on the gradient's norm, or None.

    Raises:
        UsageError: another optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        penalised: list[Any],
        clip_norm: float | None,
    ) -> None:
        self.objective = _Objective(model, task, penalised)
        self.optimizer, self.clip_norm = optimizer, clip_norm
        group = optimizer.param_groups[0]
        if type(optimizer) not in RULES or len(optimizer.param_groups) > 1 or group.get("amsgrad"):
            raise UsageError(
                f"procedure.compile=step was given with {type(optimizer).__name__}; needed: plain SGD, Adam or AdamW; "
                "type optimizer=adam, or procedure.compile=null"
            )
        separate_step_counters(optimizer)
        self.names = [name for name, p in self.objective.named_parameters() if p.requires_grad]
        self.params = [p for p in self.objective.parameters() if p.requires_grad]
        # The same memory without autograd's eyes on it: the functional gradient below is the only one taken.
        self.values = [p.detach() for p in self.params]
        self.buffers = dict(self.objective.named_buffers())
        self.rule = RULES[type(optimizer)](optimizer)
        self.graph = torch.compile(self._step, fullgraph=True, dynamic=False)
        self.shapes: set[torch.Size] = set()
        self.state: Any = None
        self.rate = torch.zeros(())
        self.last_rate = float("nan")

    def _bind_state(self) -> None:
        """Make or find the optimizer's state; again after `load_state_dict` replaced it."""
        self.state = self.optimizer.state
        device = self.params[0].device
        kept = self.state[self.params[0]]  # a resumed run's; a velocity without a count is past its first step
        self.counter = torch.as_tensor(float(kept.get("step", bool(kept))), device=device)
        self.lists: dict[str, list[Tensor]] = {}
        for name in self.rule.slots:
            for p in self.params:
                self.state[p].setdefault(name, torch.zeros_like(p))
            self.lists[name] = [self.state[p][name] for p in self.params]
        if self.rule.counts:
            for p in self.params:
                self.state[p]["step"] = self.counter
        self.rate = torch.zeros((), device=device)
        self.last_rate = float("nan")
        self.optimizer._opt_called = True  # type: ignore[attr-defined]  # what schedulers look for

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step; return the loss and the gradient's norm, 0-d and detached."""
        if self.state is not self.optimizer.state:
            self._bind_state()
        rate = self.optimizer.param_groups[0]["lr"]
        if rate != self.last_rate:
            self.rate.fill_(rate)
            self.last_rate = rate
        # Once a shape is compiled, nothing that the guards look at changes but the shape: checking them again takes a
        # quarter of a tiny network's step.
        known = batch.x.shape in self.shapes
        trust = torch.compiler.set_stance("default", skip_guard_eval_unsafe=True) if known else nullcontext()
        with torch.no_grad(), trust:
            loss, norm = self.graph(self.values, self.buffers, self.lists, self.counter, self.rate, batch)
        self.shapes.add(batch.x.shape)
        return {"loss": loss, "gradient_norm": norm}

    def _step(
        self,
        params: list[Tensor],
        buffers: dict[str, Tensor],
        lists: dict[str, list[Tensor]],
        counter: Tensor,
        rate: Tensor,
        batch: Batch,
    ) -> tuple[Tensor, Tensor]:
        def loss_of(values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            new_buffers = {name: buffer.clone() for name, buffer in buffers.items()}  # a batch norm's running means
            return functional_call(self.objective, {**values, **new_buffers}, (batch,)), new_buffers

        named = dict(zip(self.names, params, strict=True))
        grads, (loss, new_buffers) = grad_and_value(loss_of, has_aux=True)(named)
        flat = [grads[name] for name in self.names]
        norm = torch.stack([g.square().sum() for g in flat]).sum().sqrt()
        if self.clip_norm is not None:
            factor = (self.clip_norm / (norm + 1e-6)).clamp(max=1)
            flat = [g * factor for g in flat]
        counter += 1
        self.rule(params, flat, lists, counter, rate)
        for name, buffer in buffers.items():
            buffer.copy_(new_buffers[name])
        return loss, norm


class _Objective(nn.Module):
    """The loss as a module, so that `functional_call` can swap the model's tensors."""

    def __init__(self, model: nn.Module, task: Task, penalised: list[Any]) -> None:
        super().__init__()
        self.model, self.task, self.penalised = model, task, penalised

    def forward(self, batch: Batch) -> Tensor:
        loss = self.task.loss(self.model, batch)
        for module in self.penalised:
            loss = loss + module.penalty()
        return loss


class _Rule(Protocol):
    """How an update is written: which slots of state it keeps, and the equations, in place."""

    slots: Sequence[str]
    counts: bool  # whether the state holds the number of steps

    def __call__(self, params: Tensors, grads: Tensors, lists: Lists, counter: Tensor, rate: Tensor) -> None: ...


class _SGD:
    """v = μ v + (1 - dampening) g; w = w - lr (g + μ v with Nesterov, else v)."""

    counts = False

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.group = optimizer.param_groups[0]
        self.slots: Sequence[str] = ["momentum_buffer"] if self.group["momentum"] else []

    def __call__(self, params: Tensors, grads: Tensors, lists: Lists, counter: Tensor, rate: Tensor) -> None:
        momentum, decay = self.group["momentum"], self.group["weight_decay"]
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            if decay:
                g = g + decay * p
            if momentum:
                v = lists["momentum_buffer"][i]
                # torch starts the velocity at the first gradient, undamped
                v.copy_(torch.where(counter == 1, g, momentum * v + (1 - self.group["dampening"]) * g))
                g = g + momentum * v if self.group["nesterov"] else v
            p.sub_(rate * g)


class _Adam:
    """Algorithm 1 of Kingma & Ba 2014; AdamW shrinks the weights apart from the gradient."""

    counts = True

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.group = optimizer.param_groups[0]
        self.slots: Sequence[str] = ("exp_avg", "exp_avg_sq")
        self.decoupled = isinstance(optimizer, torch.optim.AdamW) or self.group.get("decoupled_weight_decay", False)

    def __call__(self, params: Tensors, grads: Tensors, lists: Lists, counter: Tensor, rate: Tensor) -> None:
        (beta1, beta2), eps, decay = self.group["betas"], self.group["eps"], self.group["weight_decay"]
        mean_scale = rate / (1 - beta1**counter)
        root_scale = (1 - beta2**counter).sqrt()
        for p, g, m, v in zip(params, grads, lists["exp_avg"], lists["exp_avg_sq"], strict=True):
            if decay and self.decoupled:
                p.mul_(1 - rate * decay)
            elif decay:
                g = g + decay * p
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            p.sub_(mean_scale * m / (v.sqrt() / root_scale + eps))


RULES: dict[type, Callable[[torch.optim.Optimizer], _Rule]] = {
    torch.optim.SGD: _SGD,
    torch.optim.Adam: _Adam,
    torch.optim.AdamW: _Adam,
}
