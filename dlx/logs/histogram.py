"""A tensor's histogram, as the HistogramProto message of TensorBoard (histogram.proto)."""

import struct

import torch
from torch import Tensor

from dlx.logs.events import field


@torch.no_grad()
def encode(x: Tensor, bins: int = 40) -> bytes | None:
    """The histogram of a tensor's finite values, computed on its device; None if it has none.

    Args:
        x: of any shape; of complex numbers the absolute values count.
        bins: of equal width, from the smallest to the largest value.
    """
    x = x.detach().flatten()
    x = (x.abs() if x.is_complex() else x).float()
    x = x[x.isfinite()]
    if not len(x):
        return None
    low, high, total, squares = torch.stack([x.min(), x.max(), x.sum(), x.square().sum()]).tolist()
    if low == high:
        counts, limits = [float(len(x))], [high]
    else:
        counts = torch.histc(x, bins, low, high).tolist()
        limits = [low + (high - low) * k / bins for k in range(1, bins)] + [high]
    return b"".join(
        (
            field(1, low),
            field(2, high),
            field(3, float(len(x))),
            field(4, total),
            field(5, squares),
            field(6, struct.pack(f"<{len(limits)}d", *limits)),  # the right edges
            field(7, struct.pack(f"<{len(counts)}d", *counts)),
        )
    )
