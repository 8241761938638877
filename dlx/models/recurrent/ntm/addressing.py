"""Where a neural Turing machine reads and writes: by content, then by place.

A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401, §3.3.
"""

import torch
from torch import Tensor

TINY = 1e-16  # added to a weighting before its logarithm: 0 stays 0 when it is sharpened, and has a gradient
SMALL = 1e-8  # added to squared lengths: a row of zeros is like nothing at all


def address_by_content(k: Tensor, beta: Tensor, memory: Tensor) -> Tensor:
    """Return the softmax over rows of β times the cosine between key and row (eqs. 5, 6), (B, H, N).

    Args:
        k: (B, H, M), a key of each of H heads.
        beta: (B, H, 1), its strength, at least 0.
        memory: (B, N, M).
    """
    return (normalize_rows(k) * beta @ normalize_rows(memory).transpose(1, 2)).softmax(2)


def normalize_rows(rows: Tensor) -> Tensor:
    """Return rows (…, M) of length 1; those of length 0 stay 0."""
    return rows * (rows.square().sum(-1, keepdim=True) + SMALL).rsqrt()


def interpolate(w_c: Tensor, w: Tensor, g: Tensor) -> Tensor:
    """Interpolate between the weighting by content, for a gate g (B, H, 1) of 1, and the one before, for 0 (eq. 7)."""
    return torch.lerp(w, w_c, g)


def shift(w: Tensor, s: Tensor) -> Tensor:
    """Convolve (eq. 8, circular) w (B, H, N) with s (B, H, S), shares of the shifts -(S // 2), …, S // 2."""
    N, S = w.shape[2], s.shape[2]
    wide = pad_circular(w, S // 2)
    # A shift by j takes from j places before: the farthest forward from the beginning of the widened weighting.
    return sum((s[:, :, S - 1 - j, None] * wide[:, :, j : j + N] for j in range(S)), start=torch.zeros_like(w))


def pad_circular(w: Tensor, far: int) -> Tensor:
    """Return w (B, H, N) with as many places of its other end before and after it, (B, H, N + 2 far)."""
    return torch.cat((w[:, :, w.shape[2] - far :], w, w[:, :, :far]), 2)


def sharpen(w: Tensor, gamma: Tensor) -> Tensor:
    """Return w^γ, normalized (eq. 9), as the softmax of γ log w: powers of a flat weighting would all underflow.

    Args:
        w: (B, H, N), which need not sum to 1.
        gamma: (B, H, 1), at least 1.
    """
    return (gamma * (w + TINY).log()).softmax(2)
