"""Convolutions and poolings with every padding, and the arithmetic of their sizes.

V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016, https://arxiv.org/abs/1603.07285.
Padding `same` is TensorFlow's, https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2: with any stride the
result has ⌈in / stride⌉ rows, and where the zeros are odd in number, the last row and column get one more.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.layers import Regularized, Regularizers
from dlx.types import Count, Natural

Pair = tuple[int, int]
Size = Count | tuple[Count, Count]  # one number for both, or [height, width]
Padding = Literal["same", "valid"] | Natural | tuple[Natural, Natural]  # valid is 0


class Window(NamedTuple):
    """How a kernel slides over maps; each entry is (height, width).

    `extra` is what `same` asks for beside `padding` on both sides: further rows at the bottom, columns at the right.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    padding: Pair
    extra: Pair
    size: Pair  # of the result

    def make_padding(self, value: float = 0.0) -> dict[str, nn.Module]:
        """Return the module that pads before the layer, as torch pads both sides alike; empty where they are."""
        (rows, columns) = self.extra
        return {"pad": nn.ConstantPad2d((0, columns, 0, rows), value)} if rows or columns else {}


def to_pair(size: int | Sequence[int]) -> Pair:
    """Return (height, width) of one number for both, or of [height, width]."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def compute_extent(kernel: int, dilation: int) -> int:
    """Return the pixels that a dilated kernel spans."""
    return dilation * (kernel - 1) + 1


def make_window(
    size: Sequence[int],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = "valid",
    dilation: int | Sequence[int] = 1,
) -> Window:
    """Compute the window of a convolution or a pooling over maps of `size`, (height, width).

    Raises:
        UsageError: the maps are smaller than the kernel.
    """
    k, s, d = to_pair(kernel), to_pair(stride), to_pair(dilation)
    span = [compute_extent(*side) for side in zip(k, d, strict=True)]
    if padding == "same":
        total = [max((-(-n // t) - 1) * t + e - n, 0) for n, t, e in zip(size, s, span, strict=True)]
        p, extra = (total[0] // 2, total[1] // 2), (total[0] % 2, total[1] % 2)
    else:
        p, extra = (0, 0) if isinstance(padding, str) else to_pair(padding), (0, 0)
    padded = [n + 2 * q + x for n, q, x in zip(size, p, extra, strict=True)]
    if padded[0] < span[0] or padded[1] < span[1]:
        dilated = f" dilated to {format_size(span)}" if max(d) > 1 else ""
        raise UsageError(
            f"a kernel of {format_size(k)}{dilated} was given maps of {format_size(size)}"
            f"{f', padded to {format_size(padded)}' if max(p) else ''}; needed: maps that it fits into; type padding: "
            "same, a smaller kernel, or less stride and pooling before it"
        )
    rows, columns = ((n - e) // t + 1 for n, e, t in zip(padded, span, s, strict=True))
    return Window(k, s, d, p, extra, (rows, columns))


def format_size(size: Sequence[int]) -> str:
    """Format a size for messages: 3×5."""
    return "×".join(map(str, size))


class Convolution(Regularized, nn.Conv2d):
    """y_o = Σ_c W_oc ⋆ x_c + b_o for x (batch, C, H, W), with `Regularizers`; `max_norm` bounds each filter.

    Args:
        inputs: C; with g groups, output o sees the C/g channels of its group.
        filters: number of outputs o.
        window: kernel, stride, dilation and padding. Its extra padding, if there is one, goes before this layer.
        groups: that channels and filters are cut into.
        bias: whether there is b.
        regularizers: as in `Regularizers`.
    """

    def __init__(
        self, inputs: int, filters: int, window: Window, groups: int = 1, bias: bool = True, **regularizers: Any
    ) -> None:
        super().__init__(
            inputs, filters, window.kernel, window.stride, window.padding, window.dilation, groups=groups, bias=bias
        )
        self.init_regularized(Regularizers(**regularizers))


class TransposedConvolution(Regularized, nn.ConvTranspose2d):
    """The gradient of a convolution with respect to its input, as a layer: maps grow by the stride.

    M. D. Zeiler, D. Krishnan, G. W. Taylor, R. Fergus, "Deconvolutional Networks", CVPR 2010.

    Args:
        inputs, filters: channels of x and y.
        window: as `make_transposed_window` computes it.
        output_padding: rows and columns that the stride leaves open, added at the bottom and the right.
        bias: whether there is one.
        regularizers: as in `Regularizers`.
    """

    unit_dim = 1  # torch's weight is (inputs, filters, height, width), that of the convolution whose gradient this is

    def __init__(
        self, inputs: int, filters: int, window: Window, output_padding: Pair, bias: bool = True, **regularizers: Any
    ) -> None:
        super().__init__(
            inputs,
            filters,
            window.kernel,
            window.stride,
            window.padding,
            output_padding,
            bias=bias,
            dilation=window.dilation,
        )
        self.init_regularized(Regularizers(**regularizers))


def make_transposed_window(
    size: Sequence[int],
    kernel: int | Sequence[int],
    stride: int | Sequence[int],
    padding: str | int | Sequence[int],
    output_padding: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[Window, Pair]:
    """Compute window and output padding of a transposed convolution over maps of `size`, (height, width).

    `same` gives in × stride rows: the maps whose convolution with `same` has the size given here. Its `extra` rows and
    columns are to be cut off behind the layer.

    Raises:
        UsageError: nothing is left, or an output padding that there is no room for.
    """
    k, s, d = to_pair(kernel), to_pair(stride), to_pair(dilation)
    span = [compute_extent(*side) for side in zip(k, d, strict=True)]
    more, p, extra = to_pair(output_padding), (0, 0), (0, 0)
    if padding == "same":
        if max(more):
            raise UsageError(
                f"output_padding {format_size(more)} was given with padding same, which leaves none; type 0"
            )
        total = [max(e - t, 0) for e, t in zip(span, s, strict=True)]
        p, extra = (total[0] // 2, total[1] // 2), (total[0] % 2, total[1] % 2)
        more = max(s[0] - span[0], 0), max(s[1] - span[1], 0)
    elif not isinstance(padding, str):
        p = to_pair(padding)
    if any(m >= max(t, e) for m, t, e in zip(more, s, d, strict=True)):
        raise UsageError(
            f"output_padding {format_size(more)} was given with stride {format_size(s)}; needed: less than the stride, "
            "or than the dilation"
        )
    rows, columns = (
        (n - 1) * t - 2 * q - x + e + m for n, t, q, x, e, m in zip(size, s, p, extra, span, more, strict=True)
    )
    if min(rows, columns) < 1:
        raise UsageError(
            f"padding {format_size(p)} was given for maps of {format_size(size)}; needed: one that leaves something"
        )
    return Window(k, s, d, p, extra, (rows, columns)), more


class SameAvgPool2d(nn.Module):
    """Average pooling with padding `same`: the mean over those pixels of a window that lie within the image.

    Args:
        window: that slides.
    """

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, C, ⌈H / stride⌉, ⌈W / stride⌉) of x (batch, C, H, W)."""
        (top, left), (rows, columns) = self.window.padding, self.window.extra
        padding = (left, left + columns, top, top + rows)
        mask = F.pad(torch.ones_like(x[:1, :1]), padding)
        pooled, part = (F.avg_pool2d(y, self.window.kernel, self.window.stride) for y in (F.pad(x, padding), mask))
        return pooled / part

    def extra_repr(self) -> str:
        return f"kernel_size={self.window.kernel}, stride={self.window.stride}"
