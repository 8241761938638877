"""Layer specifications of `model=cnn`: a dataclass for each kind, its fields the keys of an entry in YAML.

`conv: 32, kernel: 3, stride: 2` is `Conv(conv=32, kernel=3, stride=2, ...)`, and `build` turns it into torch's modules.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from dlx.errors import UsageError
from dlx.models.activations import Activation as ActivationName
from dlx.models.activations import make_activation
from dlx.models.convolutional.convolution import (
    Convolution,
    Padding,
    SameAvgPool2d,
    Size,
    TransposedConvolution,
    Window,
    format_size,
    make_transposed_window,
    make_window,
)
from dlx.models.layer_spec import HiddenLayerSpec, WeightedLayerSpec
from dlx.types import Count, Fraction, Natural

Shape = tuple[int, ...]  # of one example: (channels, height, width) of maps, or (size,) of a vector
NoValue = Literal[True] | None  # of a kind that needs no value: `flatten` alone in a list


class BuiltLayer(NamedTuple):
    """The modules of an entry by what they do, in their order, the layer itself nameless; and their output's shape."""

    modules: dict[str, nn.Module]
    shape: Shape


class LayerSpec(ABC):
    """One entry."""

    @abstractmethod
    def build(self, shape: Shape) -> BuiltLayer:
        """Build this entry's modules, for examples of `shape`.

        Raises:
            UsageError: the layer does not fit its input.
        """


@dataclass(kw_only=True)
class MapsLayerSpec(WeightedLayerSpec, LayerSpec):
    """Settings that the convolutional kinds share.

    Args:
        kernel, stride, dilation: one number, or [height, width].
        padding: valid, same, or as torch's.
        bias: whether there is one.
        spatial_dropout: part of the maps that is dropped, whole, in training (J. Tompson et al. 2014,
            https://arxiv.org/abs/1411.4280, §3.2).
    """

    kernel: Size = 3
    stride: Size = 1
    padding: Padding = "valid"
    dilation: Size = 1
    bias: bool = True
    spatial_dropout: Fraction

    def add_norm_and_activation(self, modules: dict[str, nn.Module], filters: int, window: Window) -> BuiltLayer:
        """Add normalization, activation and dropout behind the layer."""
        if self.batch_norm:
            modules["norm"] = nn.BatchNorm2d(filters)
        if self.activation is not None:
            modules["act"] = make_activation(self.activation)
        modules |= self.make_activity_penalty()
        if self.spatial_dropout:
            modules["dropout"] = nn.Dropout2d(self.spatial_dropout)
        return BuiltLayer(modules, (filters, *window.size))


@dataclass(kw_only=True)
class Conv(MapsLayerSpec):
    """A convolution: `{conv: 64, kernel: [3, 5], dilation: 2}`; `groups` cuts channels and filters into groups."""

    conv: Count
    groups: Count = 1

    def build(self, shape: Shape) -> BuiltLayer:
        channels, *size = _require_maps(shape)
        if channels % self.groups or self.conv % self.groups:
            common = math.gcd(channels, self.conv)
            divisors = [str(n) for n in range(1, common + 1) if common % n == 0]
            raise UsageError(
                f"groups {self.groups} was given for {channels} maps and {self.conv} filters; "
                f"needed: a divisor of both, {', '.join(divisors)}"
            )
        window = make_window(size, self.kernel, self.stride, self.padding, self.dilation)
        layer = Convolution(channels, self.conv, window, self.groups, self.bias, **self.regularizers())
        return self.add_norm_and_activation({**window.make_padding(), "": layer}, self.conv, window)


@dataclass(kw_only=True)
class Separable(MapsLayerSpec):
    """A depthwise convolution, then a pointwise one across its maps: Keras's SeparableConv2D.

    F. Chollet, "Xception", 2016, https://arxiv.org/abs/1610.02357, §1. There is nothing between the two, and the bias
    is the second's.
    """

    separable: Count
    depth_multiplier: Count = 1  # filters of each channel

    def build(self, shape: Shape) -> BuiltLayer:
        channels, *size = _require_maps(shape)
        deep = channels * self.depth_multiplier
        window = make_window(size, self.kernel, self.stride, self.padding, self.dilation)
        depthwise = Convolution(channels, deep, window, channels, False, **self.regularizers())
        pointwise = Convolution(
            deep, self.separable, make_window(window.size, 1), bias=self.bias, **self.regularizers()
        )
        modules = {**window.make_padding(), "depthwise": depthwise, "pointwise": pointwise}
        return self.add_norm_and_activation(modules, self.separable, window)


@dataclass(kw_only=True)
class TransposedConv(MapsLayerSpec):
    """A transposed convolution: `{transposed: 32, kernel: 2, stride: 2}` doubles height and width."""

    transposed: Count
    output_padding: Natural | tuple[Natural, Natural] = 0

    def build(self, shape: Shape) -> BuiltLayer:
        channels, *size = _require_maps(shape)
        window, more = make_transposed_window(
            size, self.kernel, self.stride, self.padding, self.output_padding, self.dilation
        )
        layer = TransposedConvolution(channels, self.transposed, window, more, self.bias, **self.regularizers())
        rows, columns = window.extra
        crop: dict[str, nn.Module] = {"crop": nn.ZeroPad2d((0, -columns, 0, -rows))} if rows or columns else {}
        return self.add_norm_and_activation({"": layer, **crop}, self.transposed, window)


@dataclass(kw_only=True)
class MaxPool(LayerSpec):
    """Maxima over windows; the stride is the window's size where it is not given."""

    max_pool: Size
    stride: Size | None = None
    padding: Padding = "valid"

    def build(self, shape: Shape) -> BuiltLayer:
        window = _make_pooling_window(shape, self.max_pool, self.stride, self.padding)
        layer = nn.MaxPool2d(window.kernel, window.stride, window.padding)
        return BuiltLayer({**window.make_padding(-math.inf), "": layer}, (shape[0], *window.size))


@dataclass(kw_only=True)
class AveragePool(LayerSpec):
    """Means over windows; zeros of a padding given by number count, as in torch, those of `same` do not."""

    average_pool: Size
    stride: Size | None = None
    padding: Padding = "valid"

    def build(self, shape: Shape) -> BuiltLayer:
        window = _make_pooling_window(shape, self.average_pool, self.stride, self.padding)
        layer = nn.AvgPool2d(window.kernel, window.stride, window.padding)
        return BuiltLayer({"": SameAvgPool2d(window) if self.padding == "same" else layer}, (shape[0], *window.size))


@dataclass(kw_only=True)
class GlobalAveragePool(LayerSpec):
    """The mean of each map: a vector (M. Lin et al. 2013, https://arxiv.org/abs/1312.4400, §3.2)."""

    global_average_pool: NoValue = None

    def build(self, shape: Shape) -> BuiltLayer:
        return BuiltLayer({"": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}, _require_maps(shape)[:1])


@dataclass(kw_only=True)
class GlobalMaxPool(LayerSpec):
    """The maximum of each map: a vector."""

    global_max_pool: NoValue = None

    def build(self, shape: Shape) -> BuiltLayer:
        return BuiltLayer({"": nn.AdaptiveMaxPool2d(1), "flatten": nn.Flatten()}, _require_maps(shape)[:1])


@dataclass(kw_only=True)
class BatchNorm(LayerSpec):
    """Batch normalization of each map, or of each element of a vector."""

    batch_norm: NoValue = None

    def build(self, shape: Shape) -> BuiltLayer:
        return BuiltLayer({"": (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])}, shape)


@dataclass(kw_only=True)
class Activation(LayerSpec):
    """Any of torch.nn's by name."""

    activation: ActivationName

    def build(self, shape: Shape) -> BuiltLayer:
        return BuiltLayer({"": make_activation(self.activation)}, shape)


@dataclass(kw_only=True)
class Dropout(LayerSpec):
    """Drops a part of the elements in training."""

    dropout: Fraction

    def build(self, shape: Shape) -> BuiltLayer:
        return BuiltLayer({"": nn.Dropout(self.dropout)}, shape)


@dataclass(kw_only=True)
class SpatialDropout(LayerSpec):
    """Drops a part of the maps, whole, in training."""

    spatial_dropout: Fraction

    def build(self, shape: Shape) -> BuiltLayer:
        _require_maps(shape)
        return BuiltLayer({"": nn.Dropout2d(self.spatial_dropout)}, shape)


@dataclass(kw_only=True)
class Flatten(LayerSpec):
    """Maps to a vector; the first dense layer does it by itself."""

    flatten: NoValue = None

    def build(self, shape: Shape) -> BuiltLayer:
        return BuiltLayer({"": nn.Flatten()}, (math.prod(shape),))


@dataclass(kw_only=True)
class DenseLayer(HiddenLayerSpec, LayerSpec):
    """A dense layer: `{dense: 128, dropout: 0.5}`."""

    dense: Count

    def build(self, shape: Shape) -> BuiltLayer:
        flat: dict[str, nn.Module] = {"flatten": nn.Flatten()} if len(shape) > 1 else {}
        return BuiltLayer({**flat, **self.build_modules(math.prod(shape), self.dense)}, (self.dense,))


# An entry is of the first kind whose key it has: the last four, `SETTINGS`, are settings of other kinds too.
KINDS: dict[str, type[LayerSpec]] = {
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


def _require_maps(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise UsageError(
            f"a vector of {shape[0]} was given; needed: maps; type it before flatten, dense and global pooling"
        )
    return shape


def _make_pooling_window(shape: Shape, size: Size, stride: Size | None, padding: Padding) -> Window:
    window = make_window(_require_maps(shape)[1:], size, size if stride is None else stride, padding)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel, strict=True)):
        raise UsageError(
            f"padding {format_size(window.padding)} was given for windows of {format_size(window.kernel)}; "
            "needed: at most half"
        )
    return window
