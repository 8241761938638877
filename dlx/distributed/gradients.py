"""Gradients of a loss over all ranks by torch's own wrappers: DistributedDataParallel and fully_shard.

S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020,
https://arxiv.org/abs/2006.15704. Y. Zhao et al., "PyTorch FSDP", VLDB 2023, https://arxiv.org/abs/2304.11277.

Both exchange gradients during back-propagation and average them with equal weights; the loss is first weighted by the
rank's share of the step's examples, so that the result is the gradient over all of them.
"""

import contextlib
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.distributed.group import SingleProcess
from dlx.errors import UsageError
from dlx.hardware.random_state import get_random_state, set_random_state

Strategy = Literal["ddp", "fsdp"]
MIN_SHARDED_PARAMETERS = 2**20  # of a layer that is sharded by itself, and gathered just before it is used


class Objective(nn.Module):
    """A loss as a module: the wrappers act around `forward`, and a task may call more of a model than that.

    Args:
        model: holds the parameters.
        loss: the model's loss on a batch, 0-d.
    """

    def __init__(self, model: nn.Module, loss: Callable[[Batch], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(batch)


class DistributedGradients:
    """Computes the gradients of the loss over all ranks, one for each parameter in the model's order.

    Args:
        group: the processes that train together.
        model: whose parameters are trained; `fsdp` replaces them by their shards, so make optimizers afterwards.
        loss: of a batch, 0-d.
        strategy: which wrapper.
    """

    def __init__(
        self, group: SingleProcess, model: nn.Module, loss: Callable[[Batch], Tensor], strategy: Strategy
    ) -> None:
        self.group = group
        self.objective: Any = Objective(model, loss)
        self.wrapped: Any = None
        if strategy == "fsdp":
            shard(self.objective, group.world_size)
            model.__dict__["_dlx_objective"] = weakref.ref(self.objective)  # `unshard` finds it; no submodule
            self.wrapped = self.objective
        self.params = [p for p in model.parameters() if p.requires_grad]

    def __call__(self, batch: Batch, scale: float | Tensor = 1.0) -> tuple[list[Any], Tensor]:
        """Return the gradients, times `scale`, and this rank's loss, 0-d."""
        if self.wrapped is None:  # at the first batch: by then another procedure may have changed the model
            unused = _has_unused_parameters(self.group, self.objective, batch, self.params)
            parallel: Any = nn.parallel.DistributedDataParallel
            accepted = inspect.signature(parallel).parameters  # torch 2.14 renamed the option
            buffers = "forward_sync_buffers" if "forward_sync_buffers" in accepted else "broadcast_buffers"
            # Buffers are synchronised when they are used, not before every step.
            self.wrapped = parallel(self.objective, find_unused_parameters=unused, **{buffers: False})
        loss = self.wrapped(batch)
        (loss * (scale * self.group.fraction * self.group.world_size)).backward()
        grads = [p.grad for p in self.params]
        for p in self.params:
            p.grad = None
        return grads, loss.detach()


def _has_unused_parameters(group: SingleProcess, objective: nn.Module, batch: Batch, params: Sequence[Tensor]) -> bool:
    """Return whether the loss leaves out parameters on any rank: waiting for their gradients would never end."""
    state, buffers = get_random_state(), {name: b.clone() for name, b in objective.named_buffers()}
    grads = torch.autograd.grad(objective(batch), params, allow_unused=True)
    set_random_state(state)
    for name, buffer in objective.named_buffers():
        buffer.copy_(buffers[name])
    return bool(group.any_rank(torch.tensor([any(g is None for g in grads)])))


def shard(objective: nn.Module, world_size: int) -> None:
    """Shard the parameters over the ranks; torch's large layers are groups of their own."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(objective.parameters()).device.type
    mesh = init_device_mesh(device, (world_size,))
    for module in list(objective.modules()):
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own >= MIN_SHARDED_PARAMETERS and type(module).__module__.startswith("torch.nn."):
            fully_shard(module, mesh=mesh)
    fully_shard(objective, mesh=mesh)


@contextlib.contextmanager
def unshard(model: nn.Module) -> Iterator[None]:
    """Gather the full parameters of a sharded model within the context."""
    from torch.distributed.fsdp import FSDPModule

    root = model.__dict__.get("_dlx_objective")
    assert root is not None
    parts = [module for module in root().modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not parts[0], recurse=False)


def refuse_sharding(model: nn.Module, constrained: Sequence[Any]) -> None:
    """Refuse `fsdp` for a model whose weights are changed by anything but the optimizer, which sees a shard of them.

    Args:
        model: to be sharded.
        constrained: its layers with constraints on their weights.

    Raises:
        UsageError: its weights are set by the data or constrained after an update.
    """
    touched = "weights that are set by the data" if callable(getattr(model, "prepare", None)) else None
    touched = "weights that are constrained after each update" if constrained else touched
    if touched:
        raise UsageError(
            f"trainer.strategy=fsdp was given with {type(model).__name__}, which has {touched}; needed: a model whose "
            "weights only the optimizer changes; type trainer=ddp"
        )
