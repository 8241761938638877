"""Histograms of tensors, computed on their device."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Histogram(NamedTuple):
    """A histogram of a tensor's finite values, in bins of equal width from the smallest to the largest.

    Args:
        low: smallest value.
        high: largest value.
        total: sum of the values.
        squares: sum of their squares.
        size: number of values.
        counts: values in each bin; a single bin where all values are equal.
    """

    low: float
    high: float
    total: float
    squares: float
    size: int
    counts: list[float]


def compute_parameter_histograms(model: nn.Module) -> dict[str, Histogram | None]:
    """Return the histogram of each of a model's parameters, by name; None for one without a finite value."""
    return {name: compute_histogram(parameter) for name, parameter in model.named_parameters()}


@torch.no_grad()
def compute_histogram(x: Tensor, bins: int = 40) -> Histogram | None:
    """Return the histogram of a tensor's finite values; None if it has none.

    Args:
        x: of any shape; of complex numbers the absolute values are taken.
        bins: of equal width, from the smallest to the largest value.
    """
    x = x.detach().flatten()
    x = (x.abs() if x.is_complex() else x).float()
    x = x[x.isfinite()]
    if not len(x):
        return None
    low, high, total, squares = torch.stack([x.min(), x.max(), x.sum(), x.square().sum()]).tolist()
    counts = [float(len(x))] if low == high else torch.histc(x, bins, low, high).tolist()
    return Histogram(low, high, total, squares, len(x), counts)


@torch.no_grad()
def compute_histograms(x: Tensor, bins: int = 40) -> list[Histogram | None]:
    """Return the histogram of each row as `compute_histogram` does, faster for many small rows.

    Args:
        x: (K, …), real.
        bins: of equal width, from a row's smallest to its largest value.
    """
    x = x.detach().flatten(1).float()
    K, n = x.shape
    if not n or not x.isfinite().all():
        return [compute_histogram(row, bins) for row in x]
    low, high = x.amin(1), x.amax(1)
    place = (x - low[:, None]) * bins / (high - low)[:, None].where((high > low)[:, None], 1.0)  # as torch.histc
    cells = place.to(torch.int64).clamp_(max=bins - 1) + torch.arange(K, device=x.device)[:, None] * bins
    counts = torch.bincount(cells.flatten(), minlength=K * bins).view(K, bins).tolist()
    numbers = torch.stack([low, high, x.sum(1), x.square().sum(1)], 1).tolist()
    rows = zip(numbers, counts, strict=True)
    return [Histogram(a, z, t, q, n, [float(n)] if a == z else own) for (a, z, t, q), own in rows]
