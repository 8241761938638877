"""Operators that are slow for many small models side by side, replaced by faster ones that compute the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
MAX_CLASSES = 64  # torch's loops run along the last dimension, and want a long one
MIN_COLUMNS = 16  # with fewer a product takes several times as long


# -- operators, on a processor -----------------------------------------------------------------------------------------


def log_softmax(x: Tensor, dim: int, half: bool) -> Tensor:
    """Compute aten._log_softmax over C of (…, B, C): with B innermost ten classes take a twelfth of the time."""
    result: Tensor
    if not _is_last_and_short(x, dim):
        result = aten._log_softmax.default(x, dim, half)
    else:
        result = aten._log_softmax.default(x.mT.contiguous(), x.ndim - 2, half).mT
    return result


def log_softmax_backward(grad: Tensor, out: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Compute aten._log_softmax_backward_data likewise."""
    result: Tensor
    if not _is_last_and_short(grad, dim):
        result = aten._log_softmax_backward_data.default(grad, out, dim, dtype)
    else:
        transposed = (grad.mT.contiguous(), out.mT.contiguous(), grad.ndim - 2, dtype)
        result = aten._log_softmax_backward_data.default(*transposed).mT
    return result


def _is_last_and_short(x: Tensor, dim: int) -> bool:
    """Whether the dimension is the last one, short, of a batch of matrices on a CPU."""
    return x.is_cpu and x.ndim > 2 and dim in (-1, x.ndim - 1) and x.shape[-1] <= MAX_CLASSES


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """Compute aten.bmm of (K, n, m) and (K, m, p) as (bᵀaᵀ)ᵀ: ten columns take an eighth to a half of the time.

    Others take as long, but then activations and their gradients have the same strides, and so have a weight and its
    gradient.
    """
    transposed = a.is_cpu and a.shape[-2] >= MIN_COLUMNS
    result: Tensor = aten.bmm.default(b.mT, a.mT).mT if transposed else aten.bmm.default(a, b)
    return result


def select_backward(grad: Tensor, sizes: Sequence[int], dim: int, index: int) -> Tensor:
    """Compute aten.select_backward with the strides of `grad`, so that later steps read blocks."""
    order = sorted(range(grad.ndim), key=grad.stride, reverse=True)
    full = grad.new_zeros([sizes[dim], *(grad.shape[i] for i in order)])
    full[index] = grad.permute(order)
    dims = [1 + order.index(i) for i in range(grad.ndim)]
    dims.insert(dim % len(sizes), 0)
    return full.permute(dims)


OP_REPLACEMENTS = {
    aten._log_softmax.default: log_softmax,
    aten._log_softmax_backward_data.default: log_softmax_backward,
    aten.bmm.default: bmm,
    aten.select_backward.default: select_backward,
}


# -- functions ---------------------------------------------------------------------------------------------------------


class PlainCrossEntropy(TorchFunctionMode):
    """Replaces the cross-entropy of labels with the plain operators that it comes down to.

    Of torch's own `vmap` makes a dozen more operators, and finding them loads torch's compiler, half a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is F.cross_entropy and _is_label_cross_entropy(*args, **kwargs):
            scores, y = args
            losses = -scores.log_softmax(1).gather(1, y.unsqueeze(1)).squeeze(1)
            return losses.mean() if kwargs["reduction"] == "mean" else losses
        return func(*args, **kwargs)


def _is_label_cross_entropy(scores: Tensor, y: Tensor, **options: Any) -> bool:
    """Whether it is the cross-entropy of integer labels, without weights or smoothing."""
    defaults = {"weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "label_smoothing": 0.0}
    is_labels = y.dtype == torch.int64 and scores.ndim == y.ndim + 1
    return is_labels and options.pop("reduction") in ("none", "mean") and options == defaults
