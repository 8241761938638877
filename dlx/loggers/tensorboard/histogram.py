"""Encode histograms as TensorBoard's HistogramProto messages (histogram.proto)."""

import struct

from dlx.loggers.histogram import Histogram
from dlx.loggers.tensorboard.wire import field


def encode_histogram(histogram: Histogram) -> bytes:
    """Encode a histogram."""
    low, high, total, squares, size, counts = histogram
    bins = len(counts)
    limits = [low + (high - low) * k / bins for k in range(1, bins)] + [high]  # the right edges
    numbers = b"".join(field(number, value) for number, value in enumerate((low, high, float(size), total, squares), 1))
    pack = struct.Struct(f"<{bins}d").pack
    return numbers + field(6, pack(*limits)) + field(7, pack(*counts))
