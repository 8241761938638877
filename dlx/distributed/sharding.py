"""Gather the sharded states of models and optimizers for a checkpoint, and shard them again."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def is_sharded(model: nn.Module) -> bool:
    """Return whether each rank keeps only a part of the parameters."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for p in model.parameters())


def gather_full_tensors(state: Any, world: int) -> Any:
    """Return a state with its sharded tensors put together again.

    Args:
        state: nested dictionaries and lists of tensors.
        world: processes; of one nothing is sharded.
    """
    if world == 1:
        return state
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map_only

    return tree_map_only(DTensor, DTensor.full_tensor, state)


def shard_like(state: Any, params: Sequence[Tensor], world: int) -> Any:
    """Return an optimizer's full state, cut as its parameters are.

    Args:
        state: whole, as `gather_full_tensors` returns it.
        params: of the optimizer, in its order.
        world: processes; of one nothing is sharded.
    """
    if world == 1:
        return state
    from torch.distributed.tensor import DTensor, distribute_tensor

    def cut(value: Any, p: Tensor) -> Any:
        alike = isinstance(p, DTensor) and isinstance(value, Tensor) and value.shape == p.shape
        return distribute_tensor(value, p.device_mesh, p.placements) if alike else value  # type: ignore[attr-defined]

    slots = {i: {name: cut(v, params[i]) for name, v in slot.items()} for i, slot in state["state"].items()}
    return {**state, "state": slots}
