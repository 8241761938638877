"""Inference in hidden Markov models over padded batches: forward-backward in log space, and the best path.

L. R. Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition", Proceedings of the
IEEE 77, 1989, https://doi.org/10.1109/5.18626. Everything is in float64 and log space: sums of probabilities neither
underflow over long sequences nor lose the zeros of a table. S states, T steps.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Posterior(NamedTuple):
    """What a sequence says of its states."""

    log_likelihood: Tensor  # (batch,)
    states: Tensor  # (batch, T, S): p(z_t | x), zero beyond each length
    transitions: Tensor  # (batch, S, S): expected transitions, summed over time


def forward(log_start: Tensor, log_transition: Tensor, log_emission: Tensor, lengths: Tensor) -> Tensor:
    """log α, (batch, T, S): log p(x_1..x_t, z_t); beyond a length the last value stays (Rabiner eqs. 19-20).

    Args:
        log_start: (S,).
        log_transition: (S, S), from row to column.
        log_emission: (batch, T, S), log p(x_t | z_t).
        lengths: (batch,), at least 1.
    """
    alpha = log_start + log_emission[:, 0]
    steps = [alpha]
    for t in range(1, log_emission.shape[1]):
        moved = log_matmul(alpha, log_transition) + log_emission[:, t]
        alpha = torch.where((t < lengths)[:, None], moved, alpha)
        steps.append(alpha)
    return torch.stack(steps, 1)


def backward(log_transition: Tensor, log_emission: Tensor, lengths: Tensor) -> Tensor:
    """log β, (batch, T, S): log p(x_t+1..x_T | z_t), zero at each length's last step (Rabiner eqs. 24-25)."""
    beta = torch.zeros_like(log_emission[:, 0])
    steps = [beta]
    for t in range(log_emission.shape[1] - 2, -1, -1):
        moved = log_matmul(log_emission[:, t + 1] + beta, log_transition.T)
        beta = torch.where((t + 1 < lengths)[:, None], moved, beta)
        steps.append(beta)
    return torch.stack(steps[::-1], 1)


def posterior(log_start: Tensor, log_transition: Tensor, log_emission: Tensor, lengths: Tensor) -> Posterior:
    """Forward-backward; shapes as in `forward` (Rabiner eqs. 27 and 37)."""
    alpha = forward(log_start, log_transition, log_emission, lengths)
    beta = backward(log_transition, log_emission, lengths)
    log_likelihood = alpha[:, -1].logsumexp(1)
    possible = log_likelihood.isfinite()  # an impossible sequence says nothing of its states
    scale = torch.where(possible, log_likelihood, 0.0)[:, None, None]
    steps = torch.arange(log_emission.shape[1], device=lengths.device)
    inside = ((steps < lengths[:, None]) & possible[:, None])[..., None]
    states = torch.where(inside, (alpha + beta - scale).exp(), 0.0)
    # ξ_t(i, j) = α_t(i) a_ij b_j(x_t+1) β_t+1(j) / p(x), summed over t as one product of its two factors. Each step is
    # measured from its own largest value, so that neither factor underflows.
    left, right = alpha[:, :-1], log_emission[:, 1:] + beta[:, 1:]
    high_left = _finite_max(left)
    high_right = _finite_max(right)
    weight = torch.where(inside[:, 1:], (high_left + high_right - scale).exp(), 0.0)
    pairs = ((left - high_left).exp() * weight).transpose(1, 2) @ (right - high_right).exp()
    return Posterior(log_likelihood, states, pairs * log_transition.exp())


def viterbi(log_start: Tensor, log_transition: Tensor, log_emission: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable path (batch, T) int64, -1 beyond each length, and its log p(x, z), (batch,).

    Shapes as in `forward` (Rabiner eqs. 32-35). Of equal paths the one with the smaller states is taken.
    """
    best = log_start + log_emission[:, 0]
    came: list[Tensor] = []
    stay = torch.arange(len(log_start), device=best.device).expand_as(best)
    for t in range(1, log_emission.shape[1]):
        values, origin = (best[:, :, None] + log_transition).max(1)
        on = (t < lengths)[:, None]
        best = torch.where(on, values + log_emission[:, t], best)
        came.append(torch.where(on, origin, stay))
    score, state = best.max(1)
    path = [state]
    for origin in reversed(came):
        state = origin.gather(1, state[:, None])[:, 0]
        path.append(state)
    states = torch.stack(path[::-1], 1)
    steps = torch.arange(states.shape[1], device=lengths.device)
    return states.masked_fill(steps >= lengths[:, None], -1), score


def log_matmul(a: Tensor, log_b: Tensor) -> Tensor:
    """log(exp(a) @ exp(log_b)), (batch, M), of a (batch, S) and log_b (S, M), each row measured from its maximum."""
    high = _finite_max(a)
    return ((a - high).exp() @ log_b.exp()).log() + high


def _finite_max(a: Tensor) -> Tensor:
    """The largest entry over the last dimension, kept; 0 where all are -∞, which stays -∞ - 0."""
    high = a.amax(-1, keepdim=True)
    return torch.where(high.isfinite(), high, 0.0)
