"""The best path through a hidden Markov model.

A. J. Viterbi, "Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding Algorithm", IEEE
Transactions on Information Theory 13, 1967; in the notation of Rabiner 1989, https://doi.org/10.1109/5.18626.
"""

import torch
from torch import Tensor


def viterbi(log_start: Tensor, log_transition: Tensor, log_emission: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most probable path (batch, T) int64, -1 beyond each length, and its log p(x, z), (batch,).

    An impossible sequence has no path: it is -1, and its log p(x, z) is -∞.

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
    return states.masked_fill((steps >= lengths[:, None]) | score.isneginf()[:, None], -1), score
