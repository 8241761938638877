"""How the units of a Hopfield network move: all at once, or one after the other.

A unit takes the sign of its field h = Σ_j W_ij s_j, and stays as it is where the field is zero. With symmetric weights
and no negative self-couplings the energy -½ sᵀ W s never rises as long as one unit moves at a time (Hopfield 1982);
when all move at once, the network may end in a cycle of two states.
"""

import torch
from torch import Tensor

BLOCK = 32  # units whose moves are collected before all fields learn of them, by one matrix product


def update_synchronously(W: Tensor, s: Tensor) -> Tensor:
    """Move all units at once: return the next states, (batch, N), of s (batch, N), for symmetric weights W (N, N)."""
    return threshold(s @ W, s, zero_tolerance(W))


def update_asynchronously(W: Tensor, s: Tensor, order: Tensor) -> Tensor:
    """Move one unit after the other, each seeing the moves before its own: return the states afterwards, (batch, N).

    The fields are kept up to date rather than computed anew, which costs O(N) a move. A move reaches the fields of its
    own block at once, and all others when the block is done: nobody looks at them before.

    Args:
        W: symmetric weights, (N, N).
        s: states, (batch, N).
        order: of the units, (n,) int64; one that is named twice moves twice, one that is not named stays.
    """
    s = s.T.clone(memory_format=torch.contiguous_format)  # (N, batch): a unit's states side by side
    fields, zero = W @ s, zero_tolerance(W)
    for units in order.split(BLOCK):
        rows, field, before = W[units], fields[units], s[units]
        now = before.clone()
        for h, state, near in zip(field.unbind(), now.unbind(), rows[:, units].unbind(), strict=True):
            move = threshold(h, state, zero).sub_(state)
            field.addr_(near, move)
            state.add_(move)
        s[units] = now
        fields.addmm_(rows.T, now - before)
    return s.T.contiguous()


def threshold(h: Tensor, s: Tensor, zero: float) -> Tensor:
    """Return the sign of each field h, or the state s where |h| is below `zero`; all of one shape."""
    return torch.add(h, s, alpha=zero).sign_()


def zero_tolerance(W: Tensor) -> float:
    """Return below what a field stands for zero: sums of float64 err by less, and fields that count are larger."""
    return 1e-10 * float(W.abs().sum(0).max()) or 1.0  # without weights nothing moves
