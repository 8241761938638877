"""The layers of `model=cnn`, each against its definition as a matrix, in plain loops over every pixel."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlx.models.convolutional.cnn import CNN

SHAPE = (4, 7, 6)


def layers_of(entry, shape=SHAPE, **settings):
    """The modules of one entry, without activation and without the scores behind it."""
    torch.manual_seed(0)
    model = CNN(shape, 2, [entry], activation=None, **settings).double()
    names = [name for name, _ in model.layers.named_children() if not name.startswith("output")]
    return nn.Sequential(*(model.layers.get_submodule(name) for name in names))


def weights_of(modules):
    """Weights and bias of every layer that has some, as numpy arrays."""
    layers = [module for module in modules if getattr(module, "weight", None) is not None]
    return [(m.weight.detach().numpy(), None if m.bias is None else m.bias.detach().numpy()) for m in layers]


# -- independent definitions -------------------------------------------------------------------------------------------


def both(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def tensorflow_margin(size, kernel, stride, dilation):
    """Zeros before and after, by the formula that TensorFlow documents for padding SAME."""
    effective = (kernel - 1) * dilation + 1
    left_over = size % stride
    total = max(effective - stride, 0) if left_over == 0 else max(effective - left_over, 0)
    return total // 2, total - total // 2


def margins(size, kernel, stride, padding, dilation=(1, 1)):
    if padding == "same":
        return [tensorflow_margin(*side) for side in zip(size, kernel, stride, dilation, strict=True)]
    return [(p, p) for p in both(0 if padding == "valid" else padding)]


def matrix(weight, shape, stride=1, padding="valid", dilation=1, groups=1):
    """The convolution as a dense matrix: y[o, i, j] = Σ W[o, c, u, v] x[c, i s + u d - before, ...]."""
    filters, per_group, *kernel = weight.shape
    channels, height, width = shape
    stride, dilation = both(stride), both(dilation)
    (top, bottom), (left, right) = margins((height, width), kernel, stride, padding, dilation)
    rows = (height + top + bottom - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    columns = (width + left + right - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    M = np.zeros((filters, rows, columns, channels, height, width))
    for o, i, j in itertools.product(range(filters), range(rows), range(columns)):
        for c, u, v in itertools.product(range(per_group), range(kernel[0]), range(kernel[1])):
            source = o // (filters // groups) * per_group + c
            y, x = i * stride[0] + u * dilation[0] - top, j * stride[1] + v * dilation[1] - left
            if 0 <= y < height and 0 <= x < width:
                M[o, i, j, source, y, x] += weight[o, c, u, v]
    return M


def multiplied(M, bias, x):
    """M x + b, shaped (batch, filters, rows, columns)."""
    filters, rows, columns = M.shape[:3]
    y = x.reshape(len(x), -1) @ M.reshape(filters * rows * columns, -1).T
    y = y.reshape(len(x), filters, rows, columns)
    return y if bias is None else y + bias[:, None, None]


def numbers(shape=SHAPE, batch=2):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# -- convolutions ----------------------------------------------------------------------------------------------------

VARIANTS = [
    *({"kernel": k, "stride": s, "padding": "same"} for k in (1, 2, 3, 4, 5) for s in (1, 2, 3, 4)),
    *({"kernel": 3, "stride": s, "padding": "same", "dilation": d} for s in (1, 2) for d in (2, [1, 3])),
    *({"kernel": k, "stride": s, "padding": "valid"} for k in (2, 3, [3, 5]) for s in (1, 2, [2, 1])),
    *({"kernel": 3, "stride": s, "padding": p, "dilation": d} for s in (1, 3) for p in (1, [2, 0]) for d in (1, 2)),
    *({"kernel": [2, 3], "padding": p, "groups": g} for p in ("same", "valid", 2) for g in (1, 2, 4)),
    {"kernel": [4, 2], "stride": [3, 2], "padding": "same", "dilation": [2, 1], "groups": 2},
    {"kernel": 3, "bias": False},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_convolution_is_its_matrix(settings):
    modules = layers_of({"conv": 8, **settings})
    ((weight, bias),) = weights_of(modules)
    known = {key: value for key, value in settings.items() if key in ("stride", "padding", "dilation", "groups")}
    M = matrix(weight, SHAPE, **known)
    x = numbers()
    np.testing.assert_allclose(modules(x).detach().numpy(), multiplied(M, bias, x.numpy()), atol=1e-12)
    assert (bias is None) == (settings.get("bias") is False)
    if settings.get("padding") == "same":
        stride = both(settings.get("stride", 1))
        assert M.shape[1:3] == tuple(math.ceil(n / s) for n, s in zip(SHAPE[1:], stride, strict=True))


# From tf.nn.conv2d: the offset of the first window for sizes whose margin is odd or uneven.
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [(5, 3, 2, 1, 1), (6, 3, 2, 0, 1), (224, 7, 2, 2, 3), (6, 4, 1, 1, 2), (7, 2, 2, 0, 1), (13, 6, 5, 1, 2)],
)
def test_same_puts_the_odd_zero_last(size, kernel, stride, before, after):
    entry = {"conv": 1, "kernel": [kernel, 1], "stride": [stride, 1], "padding": "same", "bias": False}
    modules = layers_of(entry, (1, size, 1), kernel_init="ones")
    x = torch.arange(1.0, size + 1, dtype=torch.float64)  # window sums tell where each window stands
    padded = [0.0] * before + x.tolist() + [0.0] * after
    sums = [sum(padded[i : i + kernel]) for i in range(0, len(padded) - kernel + 1, stride)]
    assert modules(x.view(1, 1, size, 1)).flatten().tolist() == sums
    assert len(sums) == math.ceil(size / stride)


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("settings", [{"padding": "same", "stride": 2}, {"kernel": [2, 3]}, {"dilation": 2}], ids=str)
def test_separable_is_the_product_of_its_parts(settings, multiplier):
    modules = layers_of({"separable": 5, "depth_multiplier": multiplier, **settings})
    (depthwise, none), (pointwise, bias) = weights_of(modules)
    assert none is None
    assert depthwise.shape[0] == multiplier * SHAPE[0]
    # One full kernel: W[o, c] = Σ_m pointwise[o, c m] depthwise[c m]
    deep = depthwise.reshape(SHAPE[0], multiplier, *depthwise.shape[2:])
    full = np.einsum("ocm,cmuv->ocuv", pointwise.reshape(5, SHAPE[0], multiplier), deep)
    known = {key: value for key, value in settings.items() if key != "kernel"}
    x = numbers()
    expected = multiplied(matrix(full, SHAPE, **known), bias, x.numpy())
    np.testing.assert_allclose(modules(x).detach().numpy(), expected, atol=1e-12)
    parameters = 5 + 5 * multiplier * SHAPE[0] + depthwise.size
    assert sum(p.numel() for p in modules.parameters()) == parameters


TRANSPOSED = [
    *({"kernel": k, "stride": s, "padding": "same"} for k in (1, 2, 3, 4, 5) for s in (1, 2, 3)),
    *({"kernel": k, "stride": s, "padding": p} for k in (3, [2, 4]) for s in (1, 2) for p in ("valid", 1)),
    {"kernel": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"kernel": 3, "stride": [2, 3], "padding": [0, 1], "output_padding": [1, 2], "dilation": 2},
    {"kernel": [2, 3], "stride": 2, "padding": "same", "dilation": 2, "bias": False},
]


@pytest.mark.parametrize("settings", TRANSPOSED, ids=str)
def test_transposed_is_the_vector_jacobian_product_of_the_convolution(settings):
    modules = layers_of({"transposed": 3, **settings})
    ((weight, bias),) = weights_of(modules)  # (4, 3, height, width): of a convolution from 3 maps to 4
    known = {key: value for key, value in settings.items() if key in ("stride", "padding", "dilation")}
    x = numbers()
    y = modules(x)
    if settings["padding"] == "same":
        stride = both(settings["stride"])
        assert y.shape[2:] == (SHAPE[1] * stride[0], SHAPE[2] * stride[1])
    offset = 0.0 if bias is None else torch.from_numpy(bias)[:, None, None]
    # The convolution from maps like y to maps like x, differentiated at x: once by its matrix, once by autograd.
    M = matrix(weight, y.shape[1:], **known)
    assert M.shape[:3] == SHAPE
    by_matrix = x.numpy().reshape(2, -1) @ M.reshape(math.prod(SHAPE), -1)
    np.testing.assert_allclose((y - offset).detach().numpy().reshape(2, -1), by_matrix, atol=1e-12)
    if settings["padding"] != "same":
        padding = both(0 if settings["padding"] == "valid" else settings["padding"])
        given = torch.zeros(y.shape, dtype=torch.float64, requires_grad=True)
        stride, dilation = settings["stride"], settings.get("dilation", 1)
        forward = F.conv2d(given, torch.from_numpy(weight), None, stride, padding, dilation)
        (product,) = torch.autograd.grad(forward, given, x)
        torch.testing.assert_close(y - offset, product)


# -- pooling -----------------------------------------------------------------------------------------------------------


def pooled(x, size, stride, padding, kind):
    """Maxima or means of x (batch, C, H, W); `same` leaves out what lies outside, a number counts it as 0."""
    size, stride = both(size), both(size if stride is None else stride)
    (top, bottom), (left, right) = margins(x.shape[2:], size, stride, padding)
    outside = 0.0 if kind == "average_pool" and padding != "same" else np.nan
    padded = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=outside)
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(padded.shape[2:], size, stride, strict=True))
    reduce = np.nanmax if kind == "max_pool" else np.nanmean
    y = np.zeros((*x.shape[:2], rows, columns))
    for i, j in itertools.product(range(rows), range(columns)):
        y[:, :, i, j] = reduce(padded[:, :, i * stride[0] :, j * stride[1] :][:, :, : size[0], : size[1]], (2, 3))
    return y


@pytest.mark.parametrize("kind", ["max_pool", "average_pool"])
@pytest.mark.parametrize("padding", ["valid", "same", 1, [1, 0]], ids=str)
@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), (2, 1), (3, 1), ([3, 2], [2, 3]), (4, 3)], ids=str)
def test_pooling_is_its_definition(kind, size, stride, padding):
    given = {kind: size, "padding": padding} | ({} if stride is None else {"stride": stride})
    x = numbers()
    y = layers_of(given)(x)
    np.testing.assert_allclose(y.numpy(), pooled(x.numpy(), size, stride, padding, kind), atol=1e-12)


def test_global_pooling():
    x = numbers()
    torch.testing.assert_close(layers_of("global_average_pool")(x), x.mean((2, 3)))
    torch.testing.assert_close(layers_of("global_max_pool")(x), x.amax((2, 3)))
