"""The layers that `model=cnn` is written in: a dataclass for each kind, its fields the keys of an entry in YAML.

`conv: 32, kernel: 3, stride: 2` is `Conv(conv=32, kernel=3, stride=2, ...)`, and `made` turns it into torch's modules.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.convolution import (
    Convolution,
    Padding,
    SameAverage,
    Size,
    Transposed,
    Window,
    grow,
    slide,
    times,
)
from dlx.models.layer_spec import Hidden, Weighted
from dlx.models.layers import activation
from dlx.types import Count, Fraction, Natural

Shape = tuple[int, ...]  # of one example: (channels, height, width) of maps, or (size,) of a vector
Bare = Literal[True] | None  # of a kind that needs no value: `flatten` alone in a list


class Made(NamedTuple):
    """The modules of an entry by what they do, in their order, the layer itself nameless; and what they put out."""

    modules: dict[str, nn.Module]
    shape: Shape


class Layer(ABC):
    """One entry."""

    @abstractmethod
    def made(self, shape: Shape) -> Made:
        """Its modules, for examples of `shape`.

        Raises:
            UsageError: the layer and what it is given do not fit.
        """


@dataclass(kw_only=True)
class Maps(Weighted, Layer):
    """What the convolutional kinds share.

    Args:
        kernel, stride, dilation: one number, or [height, width].
        padding: valid, same, or as torch's.
        bias: whether there is one.
        spatial_dropout: part of the maps that is dropped, whole, while learning (J. Tompson et al. 2014,
            https://arxiv.org/abs/1411.4280, §3.2).
    """

    kernel: Size = 3
    stride: Size = 1
    padding: Padding = "valid"
    dilation: Size = 1
    bias: bool = True
    spatial_dropout: Fraction

    def finished(self, modules: dict[str, nn.Module], filters: int, window: Window) -> Made:
        """With normalization, activation and dropout behind the layer."""
        if self.batch_norm:
            modules["norm"] = nn.BatchNorm2d(filters)
        if self.activation is not None:
            modules["act"] = activation(self.activation)
        if self.spatial_dropout:
            modules["dropout"] = nn.Dropout2d(self.spatial_dropout)
        return Made(modules, (filters, *window.size))


@dataclass(kw_only=True)
class Conv(Maps):
    """A convolution: `{conv: 64, kernel: [3, 5], dilation: 2}`; `groups` cuts channels and filters into groups."""

    conv: Count
    groups: Count = 1

    def made(self, shape: Shape) -> Made:
        channels, *size = _maps(shape)
        if channels % self.groups or self.conv % self.groups:
            common = math.gcd(channels, self.conv)
            divisors = [str(n) for n in range(1, common + 1) if common % n == 0]
            raise UsageError(
                f"groups {self.groups} was given for {channels} maps and {self.conv} filters; "
                f"needed: a divisor of both, {', '.join(divisors)}"
            )
        window = slide(size, self.kernel, self.stride, self.padding, self.dilation)
        layer = Convolution(channels, self.conv, window, self.groups, self.bias, **self.regularizers())
        return self.finished({**window.margin(), "": layer}, self.conv, window)


@dataclass(kw_only=True)
class Separable(Maps):
    """A depthwise convolution, then a pointwise one across its maps: Keras's SeparableConv2D.

    F. Chollet, "Xception", 2016, https://arxiv.org/abs/1610.02357, §1. There is nothing between the two, and the bias
    is the second's.
    """

    separable: Count
    depth_multiplier: Count = 1  # filters of each channel

    def made(self, shape: Shape) -> Made:
        channels, *size = _maps(shape)
        deep = channels * self.depth_multiplier
        window = slide(size, self.kernel, self.stride, self.padding, self.dilation)
        depthwise = Convolution(channels, deep, window, channels, False, **self.regularizers())
        pointwise = Convolution(deep, self.separable, slide(window.size, 1), bias=self.bias, **self.regularizers())
        modules = {**window.margin(), "depthwise": depthwise, "pointwise": pointwise}
        return self.finished(modules, self.separable, window)


@dataclass(kw_only=True)
class TransposedConv(Maps):
    """A transposed convolution: `{transposed: 32, kernel: 2, stride: 2}` doubles height and width."""

    transposed: Count
    output_padding: Natural | tuple[Natural, Natural] = 0

    def made(self, shape: Shape) -> Made:
        channels, *size = _maps(shape)
        window, more = grow(size, self.kernel, self.stride, self.padding, self.output_padding, self.dilation)
        layer = Transposed(channels, self.transposed, window, more, self.bias, **self.regularizers())
        rows, columns = window.extra
        cut: dict[str, nn.Module] = {"crop": nn.ZeroPad2d((0, -columns, 0, -rows))} if rows or columns else {}
        return self.finished({"": layer, **cut}, self.transposed, window)


@dataclass(kw_only=True)
class MaxPool(Layer):
    """Maxima over windows; the stride is the window's size where it is not given."""

    max_pool: Size
    stride: Size | None = None
    padding: Padding = "valid"

    def made(self, shape: Shape) -> Made:
        window = _pooled(shape, self.max_pool, self.stride, self.padding)
        layer = nn.MaxPool2d(window.kernel, window.stride, window.padding)
        return Made({**window.margin(-math.inf), "": layer}, (shape[0], *window.size))


@dataclass(kw_only=True)
class AveragePool(Layer):
    """Means over windows; zeros of a padding given by number count, as in torch, those of `same` do not."""

    average_pool: Size
    stride: Size | None = None
    padding: Padding = "valid"

    def made(self, shape: Shape) -> Made:
        window = _pooled(shape, self.average_pool, self.stride, self.padding)
        plain = nn.AvgPool2d(window.kernel, window.stride, window.padding)
        return Made({"": SameAverage(window) if self.padding == "same" else plain}, (shape[0], *window.size))


@dataclass(kw_only=True)
class GlobalAveragePool(Layer):
    """The mean of each map: a vector (M. Lin et al. 2013, https://arxiv.org/abs/1312.4400, §3.2)."""

    global_average_pool: Bare = None

    def made(self, shape: Shape) -> Made:
        return Made({"": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}, _maps(shape)[:1])


@dataclass(kw_only=True)
class GlobalMaxPool(Layer):
    """The maximum of each map: a vector."""

    global_max_pool: Bare = None

    def made(self, shape: Shape) -> Made:
        return Made({"": nn.AdaptiveMaxPool2d(1), "flatten": nn.Flatten()}, _maps(shape)[:1])


@dataclass(kw_only=True)
class BatchNorm(Layer):
    """Batch normalization of each map, or of each element of a vector."""

    batch_norm: Bare = None

    def made(self, shape: Shape) -> Made:
        return Made({"": (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])}, shape)


@dataclass(kw_only=True)
class Activation(Layer):
    """Any of torch.nn's by name."""

    activation: str

    def made(self, shape: Shape) -> Made:
        return Made({"": activation(self.activation)}, shape)


@dataclass(kw_only=True)
class Dropout(Layer):
    """Drops a part of the elements while learning."""

    dropout: Fraction

    def made(self, shape: Shape) -> Made:
        return Made({"": nn.Dropout(self.dropout)}, shape)


@dataclass(kw_only=True)
class SpatialDropout(Layer):
    """Drops a part of the maps, whole, while learning."""

    spatial_dropout: Fraction

    def made(self, shape: Shape) -> Made:
        _maps(shape)
        return Made({"": nn.Dropout2d(self.spatial_dropout)}, shape)


@dataclass(kw_only=True)
class Flatten(Layer):
    """Maps to a vector; the first dense layer does it by itself."""

    flatten: Bare = None

    def made(self, shape: Shape) -> Made:
        return Made({"": nn.Flatten()}, (math.prod(shape),))


@dataclass(kw_only=True)
class DenseLayer(Hidden, Layer):
    """A dense layer: `{dense: 128, dropout: 0.5}`."""

    dense: Count

    def made(self, shape: Shape) -> Made:
        flat: dict[str, nn.Module] = {"flatten": nn.Flatten()} if len(shape) > 1 else {}
        return Made({**flat, **self.modules(math.prod(shape), self.dense)}, (self.dense,))


# An entry is of the first kind whose key it has, as the last four are settings of others too.
KINDS: dict[str, type[Layer]] = {
    "conv": Conv,
    "separable": Separable,
    "transposed": TransposedConv,
    "dense": DenseLayer,
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "global_average_pool": GlobalAveragePool,
    "global_max_pool": GlobalMaxPool,
    "flatten": Flatten,
    "batch_norm": BatchNorm,
    "activation": Activation,
    "dropout": Dropout,
    "spatial_dropout": SpatialDropout,
}
SETTINGS = ("batch_norm", "activation", "dropout", "spatial_dropout")


def _maps(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise UsageError(
            f"a vector of {shape[0]} was given; needed: maps; type it before flatten, dense and global pooling"
        )
    return shape


def _pooled(shape: Shape, size: Size, stride: Size | None, padding: Padding) -> Window:
    window = slide(_maps(shape)[1:], size, size if stride is None else stride, padding)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel, strict=True)):
        raise UsageError(
            f"padding {times(window.padding)} was given for windows of {times(window.kernel)}; needed: at most half"
        )
    return window
