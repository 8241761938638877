"""What is slow for many small models side by side, and what computes the same faster."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
MAX_CLASSES = 64  # classes: torch's loops run along the last dimension, and want a long one
MIN_COLUMNS = 16  # columns below which a product takes several times as long


# -- operators, on a processor -----------------------------------------------------------------------------------------


def log_softmax(x: Tensor, dim: int, half: bool) -> Tensor:
    """aten._log_softmax over the last of (…, B, C): with B innermost it takes a twelfth of the time for ten classes."""
    if not _is_last_and_short(x, dim):
        return aten._log_softmax.default(x, dim, half)
    return aten._log_softmax.default(x.mT.contiguous(), x.ndim - 2, half).mT


def log_softmax_backward(grad: Tensor, out: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """aten._log_softmax_backward_data, likewise."""
    if not _is_last_and_short(grad, dim):
        return aten._log_softmax_backward_data.default(grad, out, dim, dtype)
    turned = (grad.mT.contiguous(), out.mT.contiguous(), grad.ndim - 2, dtype)
    return aten._log_softmax_backward_data.default(*turned).mT


def _is_last_and_short(x: Tensor, dim: int) -> bool:
    return x.is_cpu and x.ndim > 2 and dim in (-1, x.ndim - 1) and x.shape[-1] <= MAX_CLASSES


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """aten.bmm of (K, n, m) and (K, m, p), as bᵀaᵀ: for ten columns that takes an eighth to a half of the time.

    Others take as long, but activations and their gradients then lie alike, and a weight's gradient as the weight does.
    """
    if a.is_cpu and a.shape[-2] >= MIN_COLUMNS:
        return aten.bmm.default(b.mT, a.mT).mT
    return aten.bmm.default(a, b)


def select_backward(grad: Tensor, sizes: Sequence[int], dim: int, index: int) -> Tensor:
    """aten.select_backward, with what was not selected lying as `grad` does: who goes on step by step reads blocks."""
    order = sorted(range(grad.ndim), key=grad.stride, reverse=True)
    whole = grad.new_zeros([sizes[dim], *(grad.shape[i] for i in order)])
    whole[index] = grad.permute(order)
    places = [1 + order.index(i) for i in range(grad.ndim)]
    places.insert(dim % len(sizes), 0)
    return whole.permute(places)


OP_REPLACEMENTS = {
    aten._log_softmax.default: log_softmax,
    aten._log_softmax_backward_data.default: log_softmax_backward,
    aten.bmm.default: bmm,
    aten.select_backward.default: select_backward,
}


# -- functions ---------------------------------------------------------------------------------------------------------


class PlainCrossEntropy(TorchFunctionMode):
    """The cross-entropy of labels as what it comes to.

    Of torch's own `vmap` makes a dozen operators more, and finding them loads half a second of torch's compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is F.cross_entropy and _is_label_cross_entropy(*args, **kwargs):
            scores, y = args
            losses = -scores.log_softmax(1).gather(1, y.unsqueeze(1)).squeeze(1)
            return losses.mean() if kwargs["reduction"] == "mean" else losses
        return func(*args, **kwargs)


def _is_label_cross_entropy(scores: Tensor, y: Tensor, **asked: Any) -> bool:
    """Whether it is that of labels, each of them counting alike."""
    usual = {"weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "label_smoothing": 0.0}
    labelled = y.dtype == torch.int64 and scores.ndim == y.ndim + 1
    return labelled and asked.pop("reduction") in ("none", "mean") and asked == usual
