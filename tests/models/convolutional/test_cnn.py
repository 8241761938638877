"""Networks written as lists: against torch written by hand, with regularizers, with mistakes, and learning."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.cnn import CNN
from dlx.models.convolutional.lenet5.lenet5 import LeNet5
from dlx.models.layers import find_constrained, find_penalized

SHAPE = (4, 7, 6)


def same_logits(model, by_hand, shape):
    with torch.no_grad():
        for one, two in zip(by_hand.parameters(), model.parameters(), strict=True):
            one.copy_(two)
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), by_hand(x), rtol=1e-5, atol=1e-6)  # learning: batch statistics
    torch.testing.assert_close(model.eval()(x), by_hand.eval()(x), rtol=1e-5, atol=1e-6)  # their running means


def test_a_list_equals_a_network_written_by_hand():
    layers = [
        {"conv": 6, "kernel": [3, 5], "stride": 2, "padding": 1, "batch_norm": True},
        {"max_pool": 3, "stride": 1},
        {"separable": 8, "activation": "tanh"},
        "batch_norm",
        {"activation": "gelu"},
        {"transposed": 4, "kernel": 2, "stride": 2, "bias": False, "activation": None},
        {"average_pool": 2},
        {"dense": 12, "batch_norm": True},
        {"dropout": 0.0},
        {"dense": 9, "activation": "leaky_relu"},
    ]
    torch.manual_seed(0)
    model = CNN((2, 17, 15), 3, layers)
    conv = [nn.Conv2d(2, 6, (3, 5), 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3, 1)]
    separable = [nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.Conv2d(6, 8, 1), nn.Tanh(), nn.BatchNorm2d(8), nn.GELU()]
    transposed = [nn.ConvTranspose2d(8, 4, 2, 2, bias=False), nn.AvgPool2d(2), nn.Flatten()]
    dense = [nn.Linear(4 * 5 * 3, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9), nn.LeakyReLU(), nn.Linear(9, 3)]
    same_logits(model, nn.Sequential(*conv, *separable, *transposed, *dense), (2, 17, 15))


@pytest.mark.parametrize("size", [28, 32])
def test_lenet5_written_as_a_list(size):
    layers = [
        {"conv": 6, "kernel": 5, "padding": 2 if size == 28 else "valid"},
        {"max_pool": 2},
        {"conv": 16, "kernel": 5},
        {"max_pool": 2},
        {"dense": 120},
        {"dense": 84},
    ]
    torch.manual_seed(0)
    lenet = LeNet5((1, size, size), 10)
    torch.manual_seed(0)
    model = CNN((1, size, size), 10, layers)
    x = torch.randn(3, 1, size, size)
    assert sum(p.numel() for p in model.parameters()) == 61706
    assert torch.equal(model(x), lenet(x)), "the same seed makes the same network"


def test_names_tell_kind_and_place():
    model = CNN((1, 8, 8), 2, [{"conv": 4, "kernel": 2, "padding": "same"}, {"max_pool": 2}, {"dense": 3}], dropout=0.5)
    assert list(dict(model.layers.named_children())) == [
        *("conv0_pad", "conv0", "conv0_act", "max_pool1"),
        *("dense2_flatten", "dense2", "dense2_act", "dense2_dropout", "output"),
    ]


def test_the_scores_alone():
    x = torch.randn(4, 3, 2, 2)
    model = CNN((3, 2, 2), 5, [])
    torch.testing.assert_close(model(x), F.linear(x.flatten(1), *model.parameters()))


def test_the_models_settings_hold_where_a_layer_has_none():
    layers = [{"conv": 4}, {"conv": 4, "activation": "tanh", "batch_norm": False, "spatial_dropout": 0}, {"dense": 5}]
    model = CNN((1, 9, 9), 2, layers, activation="elu", batch_norm=True, dropout=0.5, spatial_dropout=0.25)
    kinds = [type(module).__name__ for module in model.layers]
    first, second = ["Convolution", "BatchNorm2d", "ELU", "Dropout2d"], ["Convolution", "Tanh"]
    assert kinds == [*first, *second, "Flatten", "Dense", "BatchNorm1d", "ELU", "Dropout", "Dense"]


def test_spatial_dropout_drops_whole_maps():
    torch.manual_seed(0)
    x = torch.ones(50, 40, 3, 3)
    y = CNN((40, 3, 3), 2, [{"spatial_dropout": 0.25}]).layers.spatial_dropout0(x)
    whole = y.flatten(2)
    assert bool((whole == whole[:, :, :1]).all())
    torch.testing.assert_close(y.unique(), torch.tensor([0, 1 / 0.75]))
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)


# -- regularizers ---------------------------------------------------------------------------------------------------


def test_penalties_of_filters_are_those_of_dense_layers():
    layers = [
        {"conv": 4, "l1": 0.3},
        {"separable": 3},
        {"transposed": 2, "l2": 0, "bias_l2": 0.7},
        {"dense": 5, "l2": 0},
    ]
    model = CNN((2, 8, 8), 3, layers, l2=0.1)
    modules = dict(model.layers.named_children())
    conv, depth, point = (modules[name] for name in ("conv0", "separable1_depthwise", "separable1_pointwise"))
    transposed, output = modules["transposed2"], modules["output"]
    expected = 0.3 * conv.weight.abs().sum() + 0.7 * transposed.bias.square().sum()
    expected = expected + 0.1 * sum(m.weight.square().sum() for m in (conv, depth, point, output))
    assert find_penalized(model) == [conv, depth, point, transposed, output]
    torch.testing.assert_close(sum(module.penalty() for module in find_penalized(model)), expected)
    without = CNN((2, 8, 8), 3, [{"conv": 4, "bias": False}], bias_l2=0.1)
    assert find_penalized(without) == [without.layers.output], "no bias, no penalty"


def test_max_norm_bounds_each_filter():
    torch.manual_seed(0)
    model = CNN((3, 8, 8), 3, [{"conv": 6, "groups": 3}, {"transposed": 5}], max_norm=0.4, kernel_init="he_normal")
    conv, transposed = model.layers.conv0, model.layers.transposed1
    assert find_constrained(model) == [conv, transposed], "the scores have no bound"
    before = [conv.weight.detach().clone(), transposed.weight.detach().clone()]
    for layer in find_constrained(model):
        layer.constrain()
    for weight, old, axes in ((conv.weight, before[0], (1, 2, 3)), (transposed.weight, before[1], (0, 2, 3))):
        factor = (0.4 / old.square().sum(axes, keepdim=True).sqrt()).clamp(max=1)
        assert factor.min() < 1
        torch.testing.assert_close(weight.detach(), old * factor, rtol=1e-5, atol=1e-7)


def test_initializers_count_a_filters_inputs():
    torch.manual_seed(0)
    model = CNN((64, 9, 9), 2, [{"conv": 128}, {"transposed": 96}, {"conv": 128, "groups": 4}], kernel_init="he_normal")
    for name, inputs in (("conv0", 64 * 9), ("transposed1", 128 * 9), ("conv2", 96 // 4 * 9)):
        assert getattr(model.layers, name).weight.var().item() == pytest.approx(2 / inputs, rel=0.03), name
    W = CNN((4, 9, 9), 2, [{"transposed": 8}], kernel_init="orthogonal").layers.transposed0.weight
    W = W.transpose(0, 1).flatten(1)  # (filters, incoming)
    torch.testing.assert_close(W @ W.T, torch.eye(8), rtol=0, atol=1e-5)


# -- mistakes ----------------------------------------------------------------------------------------------------------

BAD = [
    ([7], r"layers\[0\] was given 7; needed: a mapping"),
    (["flat"], r"layers\[0\] was given flat; did you mean flatten\?"),
    (["conv"], r"layers\[0\] was given conv null; needed: a whole number of at least 1"),
    ([{"cnov": 3}], r"did you mean conv\?.* separable, transposed"),
    ([{"conv": 3, "max_pool": 2}], "conv and max_pool; needed: one of them"),
    ([{"conv": 3, "kernal": 2}], r"given kernal; did you mean kernel\?"),
    ([{"conv": 3, "zzz": 2}], r"given zzz; needed: some of .*kernel, stride, padding, dilation"),
    ([{"max_pool": 2, "dilation": 2}], r"given dilation; needed: some of max_pool, stride, padding"),
    ([{"conv": 2.5}], r"conv 2.5; needed: a whole number of at least 1"),
    ([{"conv": True}], r"conv true; needed: a whole number"),
    ([{"conv": 2, "kernel": [3, 3, 3]}], r"kernel \[3,3,3\]; needed: .* or a list of 2"),
    ([{"conv": 2, "stride": 0}], r"stride 0; needed"),
    ([{"conv": 2, "padding": "full"}], r"padding full; needed: .*same, valid"),
    ([{"conv": 2, "padding": -1}], r"padding -1; needed"),
    ([{"conv": 2, "spatial_dropout": 1.0}], r"spatial_dropout 1.0; needed: a number in \[0, 1\)"),
    ([{"conv": 2, "l1": -0.1}], r"l1 -0.1; needed: a number of at least 0"),
    ([{"conv": 2, "activation": "reluu"}], r"layers\[0\] was given activation reluu; did you mean relu"),
    ([{"conv": 2, "kernel_init": "glorot"}], r"layers\[0\] was given kernel_init glorot; did you mean glorot_normal"),
    (
        [{"conv": 9, "groups": 2}],
        r"layers\[0\]: groups 2 was given for 4 maps and 9 filters; needed: a divisor of both, 1",
    ),
    (["flatten", {"conv": 2}], r"layers\[1\]: a vector of 168 was given; needed: maps"),
    (["flatten", {"max_pool": 2}], r"layers\[1\]: a vector of 168 was given; needed: maps"),
    ([{"conv": 2, "stride": 3}, {"conv": 2}], r"layers\[1\]: a kernel of 3×3 was given maps of 2×2"),
    ([{"conv": 2, "dilation": 4}], r"a kernel of 3×3 dilated to 9×9 was given maps of 7×6"),
    ([{"max_pool": 9, "padding": 1}], r"a kernel of 9×9 was given maps of 7×6, padded to 9×8"),
    ([{"max_pool": 2, "padding": 2}], r"padding 2×2 was given for windows of 2×2; needed: at most half"),
    ([{"transposed": 2, "output_padding": 1}], r"output_padding 1×1 was given with stride 1×1; needed: less"),
    ([{"transposed": 2, "padding": "same", "output_padding": 1}], r"output_padding 1×1 was given with padding same"),
    ([{"transposed": 2, "padding": 9}], r"padding 9×9 was given for maps of 7×6"),
]


@pytest.mark.parametrize(("layers", "message"), BAD, ids=str)
def test_mistakes_are_named(layers, message):
    with pytest.raises(UsageError, match=message) as error:
        CNN(SHAPE, 2, layers)
    assert "model.layers[" in str(error.value)


def test_all_mistakes_of_an_entry_at_once():
    with pytest.raises(UsageError) as error:
        CNN(SHAPE, 2, [{"conv": 2}, {"conv": 0, "kernel": "3", "grous": 2}])
    assert [line.split("; ")[0] for line in str(error.value).splitlines()] == [
        "model.layers[1] was given grous",
        "model.layers[1] was given kernel 3",
        "model.layers[1] was given conv 0",
    ]


def test_mistakes_of_the_scores():
    with pytest.raises(UsageError, match=r"model.output was given units; .*kernel_init"):
        CNN(SHAPE, 2, [], output={"units": 3})
    with pytest.raises(UsageError, match=r"model=cnn was given examples of shape \[4\]"):
        CNN([4], 2, [])


# -- learning ----------------------------------------------------------------------------------------------------------


def test_learns_the_digits(train):
    """The default list, in six epochs: 99.7 % after sixty, and a linear model stays at 96 %."""
    metrics = train("run", "model=cnn", "trainer.epochs=6").read()["metrics"]
    assert metrics["test/accuracy"] > 0.97


def test_every_kind_learns_from_the_command_line(train):
    layers = (
        "[{conv: 8, padding: same, stride: 2}, batch_norm, {separable: 8, kernel: 2}, {transposed: 4, kernel: 2, "
        "stride: 2}, {activation: gelu}, {average_pool: 2, padding: same}, {spatial_dropout: 0.1}, "
        "global_average_pool, {dense: 16, dropout: 0.1}]"
    )
    settings = ("dataset=digits", f"model.layers={layers}", "model.l2=1e-4", "optimizer.lr=0.01", "trainer.epochs=5")
    assert train("run", "model=cnn", *settings).read()["metrics"]["train/loss"] < 0.8 * math.log(10)


def test_one_entry_changed_on_the_command_line(train):
    run = train("run", "model=cnn", "model.layers.0.conv=3", "model.layers.4.dense=5", "trainer.max_steps=1")
    assert run.read()["parameters"] == (3 * 10 + 6) + (32 * 28 + 64) + (1568 * 5 + 5) + (5 * 10 + 10)
