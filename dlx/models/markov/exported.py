"""Hidden Markov models within an exported graph: in log space, padded, by loops that take any number of steps.

What `log_space` and `viterbi` compute, step by step for a whole batch (batch, T, S) instead of packed.
"""

import torch
from torch import Tensor

from dlx.models.exported_loop import scan
from dlx.models.markov.log_space import log_matmul


def filter_states(log_start: Tensor, log_transition: Tensor, log_p: Tensor, lengths: Tensor | None) -> Tensor:
    """Return log p(z_t, x_1..x_t), as log_p; in padding the last step's stays.

    Args:
        log_start: (S,); of several models at once (models, S).
        log_transition: (S, S); (models, S, S).
        log_p: of emissions, (batch, T, S); (batch, T, models, S).
        lengths: (batch,).
    """
    lengths = _get_lengths(log_p, lengths)

    def step(before: Tensor, now: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        emission, is_first, is_live = now
        prior = torch.where(is_first, log_start, (before[..., None] + log_transition).logsumexp(-2))
        after = torch.where(is_live, prior + emission, before)
        return after, after.clone()

    _, alpha = scan(
        step, torch.zeros_like(log_p[:, 0]), (log_p.transpose(0, 1).contiguous(), *_make_masks(log_p, lengths))
    )
    result: Tensor = alpha.transpose(0, 1)
    return result


def log_likelihood(log_start: Tensor, log_transition: Tensor, log_p: Tensor, lengths: Tensor | None) -> Tensor:
    """Return log p(x), (batch,), or (batch, models); arguments as of `filter_states`."""
    return filter_states(log_start, log_transition, log_p, lengths)[:, -1].logsumexp(-1)


def posterior(log_start: Tensor, log_transition: Tensor, log_p: Tensor, lengths: Tensor | None) -> Tensor:
    """Return p(z_t | x), (batch, T, S), zero beyond each length."""
    lengths = _get_lengths(log_p, lengths)
    alpha = filter_states(log_start, log_transition, log_p, lengths)
    back = log_transition.T

    def step(after: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t, emission = now  # of the step after t
        beta = log_matmul(after + emission, back)
        beta = beta.where((t < lengths - 1)[:, None], torch.zeros_like(beta))
        return beta, beta.clone()

    _, beta = scan(step, torch.zeros_like(log_p[:, 0]), (_reverse_times(log_p), _next_first(log_p)))
    states = (alpha + beta.flip(0).transpose(0, 1)).softmax(2)
    times = torch.arange(log_p.shape[1], device=log_p.device)
    result: Tensor = states.where((times < lengths[:, None])[:, :, None], torch.zeros_like(states))
    return result


def decode(log_start: Tensor, log_transition: Tensor, log_p: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the most probable path (batch, T) int64, -1 beyond each length."""
    lengths = _get_lengths(log_p, lengths)

    def step(before: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t, emission = now
        values, origin = (before[:, :, None] + log_transition).max(1)
        after = (torch.where(t == 0, log_start, values) + emission).where((t < lengths)[:, None], before)
        return after, origin

    times = torch.arange(log_p.shape[1], device=log_p.device)
    best, origins = scan(step, torch.zeros_like(log_p[:, 0]), (times, log_p.transpose(0, 1).contiguous()))
    last = best.argmax(1)

    def go_back(after: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t, origin = now  # of the step after t
        state = torch.where(t < lengths - 1, origin.gather(1, after[:, None])[:, 0], last)
        return state, state.clone()

    _, path = scan(go_back, last.clone(), (_reverse_times(log_p), _next_first(origins.transpose(0, 1))))
    result: Tensor = path.flip(0).T.where(times < lengths[:, None], -1)
    return result


def _make_masks(log_p: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return which steps are the first, and which are no padding, (T, batch, 1) each, or (T, batch, 1, 1)."""
    ones = [1] * (log_p.ndim - 2)
    times = torch.arange(log_p.shape[1], device=log_p.device).view(-1, 1, *ones)
    return (times == 0).expand(-1, log_p.shape[0], *ones).contiguous(), times < lengths.view(-1, *ones)


def _get_lengths(log_p: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is not None:
        return lengths
    return torch.full((log_p.shape[0],), log_p.shape[1], device=log_p.device)


def _reverse_times(log_p: Tensor) -> Tensor:
    return torch.arange(log_p.shape[1], device=log_p.device).flip(0)


def _next_first(values: Tensor) -> Tensor:
    """Return each step's successor, the last step first, (T, batch, S); the last step's is its own."""
    T = values.shape[1]
    order = (T - torch.arange(T, device=values.device)).clamp(max=T - 1)
    return values.index_select(1, order).transpose(0, 1).contiguous()
