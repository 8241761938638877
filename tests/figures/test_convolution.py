"""The arithmetic of `dlx explain conv` is torch's, for every kind, by its shapes, parameters, and what it sees."""

import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dlx.errors import UsageError
from dlx.figures.convolution import KINDS, compute, describe
from tests.verbs import dlx

SETTINGS = [
    setting
    for setting in itertools.product((5, 7, 8), (1, 2, 3), (1, 2, 3), ("valid", "same", "1"), (1, 2))
    if not (setting[3] == "1" and setting[1] == 1)  # torch refuses a pooling whose padding is more than half
]


def answer(one, x, weight):
    """The layer by torch's own function; padding that is not even is given by hand."""
    pads = (one.before, one.after) * 2
    if one.kind == "transposed":
        y = F.conv_transpose2d(x, weight, stride=one.stride, dilation=one.dilation)
        return F.pad(y, (-one.before, -one.after) * 2)
    padded = F.pad(x, pads)
    if one.kind == "max_pool":
        return F.max_pool2d(padded, one.kernel, one.stride, dilation=one.dilation)
    if one.kind == "avg_pool":
        return F.avg_pool2d(padded, one.kernel, one.stride)
    return F.conv2d(padded, weight, stride=one.stride, dilation=one.dilation)


@pytest.mark.parametrize("kind", ["conv", "transposed", "max_pool", "avg_pool"])
def test_sizes_and_windows_are_torchs(kind):
    for size, kernel, stride, padding, dilation in SETTINGS:
        if kind == "avg_pool" and dilation > 1:
            continue
        try:
            one = compute(kind, size, kernel, stride, padding, dilation)
        except UsageError:
            continue
        x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
        y = answer(one, x, torch.ones(1, 1, kernel, kernel, dtype=torch.float64))
        assert y.shape[2:] == (one.output, one.output), (size, kernel, stride, padding, dilation)
        if padding == "same":
            assert one.output == (size * stride if kind == "transposed" else -(-size // stride))
        if kind == "max_pool":
            continue  # it passes on one of its window only
        for i in range(one.output):
            (g,) = torch.autograd.grad(y[0, 0, i, i], x, retain_graph=True) if y.requires_grad else (None,)
            seen = {int(row) for row in g[0, 0].sum(1).nonzero()}
            assert seen == {j for j in one.windows[i] if 0 <= j < size}


@pytest.mark.parametrize(("kind", "inputs", "outputs"), [("conv", 3, 5), ("depthwise", 4, 4), ("transposed", 3, 2)])
def test_parameters_and_multiply_adds_are_torchs(kind, inputs, outputs):
    one = compute(kind, 9, 3, 2, "1", 1, inputs, outputs)
    if kind == "transposed":
        layer = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1)
    else:
        layer = nn.Conv2d(inputs, outputs, 3, 2, 1, groups=inputs if kind == "depthwise" else 1)
    with FlopCounterMode(display=False) as counter:
        y = layer(torch.rand(1, inputs, 9, 9))
    assert list(y.shape[1:]) == [one.outputs, one.output, one.output]
    assert one.parameters == sum(p.numel() for p in layer.parameters())
    assert one.macs == counter.get_total_flops() // 2


def test_separable_is_depthwise_and_pointwise():
    one = compute("separable", 8, 3, 1, "same", 1, 3, 10)
    layers = nn.Sequential(nn.Conv2d(3, 3, 3, padding="same", groups=3, bias=False), nn.Conv2d(3, 10, 1))
    with FlopCounterMode(display=False) as counter:
        layers(torch.rand(1, 3, 8, 8))
    assert one.parameters == sum(p.numel() for p in layers.parameters())
    assert one.macs == counter.get_total_flops() // 2


@pytest.mark.parametrize("kind", KINDS)
def test_text_figure_and_json(kind):
    said = dlx("explain", "conv", "--kind", kind, "--stride", 2, "--padding", "same", "-o", "there/a.png")
    one = compute(kind, 7, 3, 2, "same")
    assert said.splitlines() == describe(one)
    assert f"= {one.output}" in said.splitlines()[0]
    assert Path("there/a.png").stat().st_size > 5000
    content = json.loads(dlx("explain", "conv", "--kind", kind, "--json"))
    assert content["output"] == compute(kind, 7, 3).output


def test_inputs_that_no_window_sees_are_named():
    assert describe(compute("conv", 8, 3, 3))[-1] == "never seen: input 6, 7"


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--size", 3, "--kernel", 5], "does not fit"), (["--padding", "sam"], "same, valid"), (["-o", "a.txt"], ".png")],
)
def test_what_is_refused(words, message):
    with pytest.raises(UsageError, match=message):
        dlx("explain", "conv", *words)
    assert not list(Path().iterdir())
