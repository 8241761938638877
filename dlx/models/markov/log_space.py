"""Forward-backward in log space: exact where scaled probabilities would underflow, and many times slower.

Each step sums over pairs of states by log-sum-exp, since a matrix product of exponentials underflows as scaling does.
Shapes and packing as in `forward_backward`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlx.models.markov.forward_backward import Smoothed


class Filtered(NamedTuple):
    """What each step's past says of its state."""

    states: Tensor  # (N, S): log p(z_t | x_1..x_t)
    predicted: Tensor  # (N, S): log p(z_t | x_1..x_t-1)
    scale: Tensor  # (N, 1): log p(x_t | x_1..x_t-1)


def forward(log_start: Tensor, log_transition: Tensor, log_emission: Tensor, parts: Sequence[slice]) -> Filtered:
    """Filter; of an impossible sequence all is -∞ from the impossible step on.

    Args:
        log_start: (S,).
        log_transition: (S, S), from row to column.
        log_emission: (N, S), log p(x_t | z_t).
        parts: from `times`.
    """
    states, predicted = torch.empty_like(log_emission), torch.empty_like(log_emission)
    scale = log_emission.new_empty(len(log_emission), 1)
    predicted[parts[0]] = log_start
    for t, here in enumerate(parts):
        if t > 0:
            before = states[parts[t - 1]][: here.stop - here.start]
            predicted[here] = log_matmul(before, log_transition)
        joint = predicted[here] + log_emission[here]
        scale[here] = joint.logsumexp(1, keepdim=True)
        states[here] = joint - _zero_where_infinite(scale[here])
    return Filtered(states, predicted, scale)


def backward(log_transition: Tensor, past: Filtered, parts: Sequence[slice], weight: Tensor | None = None) -> Smoothed:
    """Smooth on the filter's own values: p(z_t | x) = α_t Σ_j A_ij p(z_t+1 = j | x) / p(z_t+1 = j | x_1..x_t).

    An impossible sequence says nothing of its states: all its probabilities are zero, and so are its transitions.

    Args:
        log_transition: (S, S).
        past: from `forward`.
        parts: from `times`.
        weight: (sequences, 1), longest first: how much the transitions of each count; None for 1.
    """
    states, pairs = past.states.clone(), torch.zeros_like(log_transition)
    for here, after in zip(parts[-2::-1], parts[:0:-1], strict=True):
        ratio = states[after] - _zero_where_infinite(past.predicted[after])
        gamma = states[here][: len(ratio)]  # shorter sequences end here: their filter is their smoother
        moves = gamma[:, :, None] + log_transition + ratio[:, None, :]  # (n, S, S)
        counts = moves.exp()
        pairs += counts.sum(0) if weight is None else (counts * weight[: len(ratio), :, None]).sum(0)
        gamma[:] = moves.logsumexp(2)
    return Smoothed(states.exp(), pairs, None)


def log_matmul(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return log(exp(log_a) @ exp(log_b)), (n, M), of log_a (n, S) and log_b (S, M)."""
    return (log_a[:, :, None] + log_b).logsumexp(1)


def _zero_where_infinite(a: Tensor) -> Tensor:
    """Return 0 for -∞: what is impossible stays -∞ when it is taken off."""
    return torch.where(a.isfinite(), a, 0.0)
