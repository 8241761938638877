"""States of models and optimizers of which each process keeps but a part: whole where they are saved."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dlx.distributed.group import here


def sharded(model: nn.Module) -> bool:
    """Whether each rank keeps but a part of the parameters."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for p in model.parameters())


def whole_tensors(state: Any) -> Any:
    """A state whose sharded tensors are put together again."""
    if here().world == 1:
        return state
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map_only

    return tree_map_only(DTensor, DTensor.full_tensor, state)


def sharded_like(state: Any, params: Sequence[Tensor]) -> Any:
    """An optimizer's state, cut as its parameters are."""
    if here().world == 1:
        return state
    from torch.distributed.tensor import DTensor, distribute_tensor

    def cut(value: Any, p: Tensor) -> Any:
        alike = isinstance(p, DTensor) and isinstance(value, Tensor) and value.shape == p.shape
        return distribute_tensor(value, p.device_mesh, p.placements) if alike else value  # type: ignore[attr-defined]

    slots = {i: {name: cut(v, params[i]) for name, v in slot.items()} for i, slot in state["state"].items()}
    return {**state, "state": slots}
