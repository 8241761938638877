"""A loop over time that an exported graph keeps as one, so that it takes sequences of any length."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Any, Any], tuple[Any, Any]]  # of the state and one step's input: the next state, and the output


def is_exporting() -> bool:
    """Return whether torch.export looks on."""
    return bool(torch.compiler.is_exporting())


def scan(step: Step, state: Any, xs: Any) -> tuple[Any, Any]:
    """Return the state after the last step, and the outputs of all steps, (T, …).

    For a graph that is exported: elsewhere a loop is as good.

    Args:
        step: of the state and one of `xs`; what it returns shares no memory with what it was given.
        state: before the first step: a tensor, or a tuple of tensors.
        xs: (T, …), or a tuple of such.
    """
    from torch._higher_order_ops.scan import scan as scan_operator

    after, outputs = scan_operator(step, state, xs)
    return after, outputs


def scan_cell(
    cell: Callable[[Tensor, tuple[Tensor, ...], None], tuple[Tensor, ...]], a: Tensor, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return all h (batch, T, size) of a recurrent cell, and its state after the last step.

    Args:
        cell: makes one step.
        a: what enters at each step, (batch, T, gates · hidden).
        state: before the first step.
    """

    def step(before: tuple[Tensor, ...], a_t: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        after = cell(a_t, before, None)
        return after, after[0].clone()

    last, h = scan(step, tuple(part.contiguous() for part in state), a.transpose(0, 1).contiguous())
    return h.transpose(0, 1), last
