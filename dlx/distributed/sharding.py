"""Gather the sharded states of models and optimizers for a checkpoint, and shard them again."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def is_sharded(model: nn.Module) -> bool:
    """Return whether each rank keeps only a part of the parameters."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for p in model.parameters())


def gather_full_tensors(state: Any, world_size: int) -> Any:
    """Return a state with its sharded tensors put together again.

    Args:
        state: nested dictionaries and lists of tensors.
        world_size: number of processes; with one nothing is sharded.
    """
    if world_size == 1:
        return state
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map_only

    return tree_map_only(DTensor, DTensor.full_tensor, state)


def shard_like(state: Any, params: Sequence[Tensor], world_size: int) -> Any:
    """Return an optimizer's full state, sharded as its parameters are.

    Args:
        state: full, as `gather_full_tensors` returns it.
        params: of the optimizer, in its order.
        world_size: number of processes; with one nothing is sharded.
    """
    if world_size == 1:
        return state
    from torch.distributed.tensor import DTensor, distribute_tensor

    def shard_value(value: Any, p: Tensor) -> Any:
        alike = isinstance(p, DTensor) and isinstance(value, Tensor) and value.shape == p.shape
        return distribute_tensor(value, p.device_mesh, p.placements) if alike else value  # type: ignore[attr-defined]

    slots = {i: {name: shard_value(v, params[i]) for name, v in slot.items()} for i, slot in state["state"].items()}
    return {**state, "state": slots}


def shard_tensors(tensors: Sequence[Tensor], params: Sequence[Tensor]) -> list[Tensor]:
    """Return full tensors, one for each parameter, sharded as the parameters are."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    return [
        distribute_tensor(t, p.device_mesh, p.placements) if isinstance(p, DTensor) else t
        for t, p in zip(tensors, params, strict=False)
    ]
