"""Encode tensors' histograms as TensorBoard's HistogramProto messages (histogram.proto)."""

import struct

import torch
from torch import Tensor, nn

from dlx.loggers.tensorboard.events import field


def encode_parameters(model: nn.Module) -> dict[str, bytes | None]:
    """Encode the histogram of each of a model's parameters, by name."""
    return {name: encode_histogram(parameter) for name, parameter in model.named_parameters()}


@torch.no_grad()
def encode_histogram(x: Tensor, bins: int = 40) -> bytes | None:
    """Encode the histogram of a tensor's finite values, computed on its device; None if it has none.

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
    return _encode_message(low, high, total, squares, len(x), counts)


@torch.no_grad()
def encode_histograms(x: Tensor, bins: int = 40) -> list[bytes | None]:
    """Encode the histogram of each row as `encode_histogram` does, faster for many small rows.

    Args:
        x: (K, …), real.
        bins: of equal width, from a row's smallest to its largest value.
    """
    x = x.detach().flatten(1).float()
    K, n = x.shape
    if not n or not x.isfinite().all():
        return [encode_histogram(row, bins) for row in x]
    low, high = x.amin(1), x.amax(1)
    place = (x - low[:, None]) * bins / (high - low)[:, None].where((high > low)[:, None], 1.0)  # as torch.histc
    cells = place.to(torch.int64).clamp_(max=bins - 1) + torch.arange(K, device=x.device)[:, None] * bins
    counts = torch.bincount(cells.flatten(), minlength=K * bins).view(K, bins).tolist()
    numbers = torch.stack([low, high, x.sum(1), x.square().sum(1)], 1).tolist()
    rows = zip(numbers, counts, strict=True)
    return [_encode_message(a, z, t, q, n, [float(n)] if a == z else own) for (a, z, t, q), own in rows]


def _encode_message(low: float, high: float, total: float, squares: float, size: int, counts: list[float]) -> bytes:
    """Encode the message; the bins are of equal width."""
    bins = len(counts)
    limits = [low + (high - low) * k / bins for k in range(1, bins)] + [high]  # the right edges
    numbers = b"".join(field(number, value) for number, value in enumerate((low, high, float(size), total, squares), 1))
    pack = struct.Struct(f"<{bins}d").pack
    return numbers + field(6, pack(*limits)) + field(7, pack(*counts))
