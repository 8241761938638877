"""What networks see, method by method: captum's values, computations by hand, and networks whose answer is known."""

import re
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlx.errors import UsageError
from dlx.interpretability.activations import activations, to_grey
from dlx.interpretability.choice import parse_class
from dlx.interpretability.deconvnet import deconvnet, select_strongest
from dlx.interpretability.filters import filters
from dlx.interpretability.grad_cam import grad_cam, upsample
from dlx.interpretability.layers import forward, list_layers
from dlx.interpretability.maximization import class_scores, gaussian_blur, maximise, unit_means
from dlx.interpretability.occlusion import make_masks, occlusion
from dlx.interpretability.preserve_state import preserve_state
from dlx.interpretability.saliency import saliency
from dlx.models.convolutional.lenet5.lenet5 import LeNet5


class Residual(nn.Module):
    """Two blocks with batch normalization, one ReLU in place for all of them, and a pooling."""

    def __init__(self, channels=3, outputs=5):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(channels, 8, 3, padding=1), nn.MaxPool2d(2)
        self.convolutions = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, outputs)

    def forward(self, x):
        x = self.pool(self.relu(self.stem(x)))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.relu(x + norm(convolution(x)))
        return self.head(x.mean((2, 3)))


def made(name):
    torch.manual_seed(3)
    model = LeNet5([1, 28, 28], 10) if name == "lenet5" else Residual()
    x = torch.rand(4, *((1, 28, 28) if name == "lenet5" else (3, 16, 16)))
    if name == "residual":
        for _ in range(5):
            model(torch.randn(16, 3, 16, 16))  # running statistics that are not the initial ones
    return model.eval(), x, torch.tensor([0, 3, 3, 1])


def named(model, x, name):
    return next(layer for layer in list_layers(model, x) if layer.name == name)


both = pytest.mark.parametrize("name", ["lenet5", "residual"])


@both
def test_saliency_is_captums(name):
    from captum.attr import Saliency

    model, x, y = made(name)
    truth = Saliency(model).attribute(x.clone().requires_grad_(), target=y)
    assert torch.allclose(saliency(model, x, y), truth.amax(1), atol=1e-5 * float(truth.max()), rtol=1e-5)
    assert all(p.grad is None for p in model.parameters())


@both
def test_grad_cam_is_captums(name):
    from captum.attr import LayerAttribution, LayerGradCam

    model, x, y = made(name)
    for layer in (found for found in list_layers(model, x) if found.is_convolution):
        method = LayerGradCam(model, layer.module)
        truth = method.attribute(x, target=y, relu_attributions=True)[:, 0].detach()
        mine = grad_cam(model, x, y, layer)
        assert float(truth.max()) > 0
        assert torch.allclose(mine, truth, atol=1e-5 * float(truth.max()), rtol=1e-5)
        size = (x.shape[2], x.shape[3])
        larger = LayerAttribution.interpolate(truth[:, None], size, "bilinear")[:, 0]
        assert torch.allclose(upsample(mine, size), larger, atol=1e-5 * float(truth.max()), rtol=1e-5)


@both
@pytest.mark.parametrize(("size", "stride"), [(4, 3), (5, 3), (7, 7), (16, 4)])
def test_occlusion_is_captums(name, size, stride):
    from captum.attr import Occlusion

    model, x, y = made(name)
    C = x.shape[1]
    grey = torch.tensor([0.5, 0.4, 0.3])[:C].view(C, 1, 1)
    truth = Occlusion(lambda x: model(x).softmax(1)).attribute(
        x, (C, size, size), (C, stride, stride), baselines=grey.expand(1, *x.shape[1:]), target=y
    )
    mine = occlusion(model, x, y, size, stride, grey, most=24)
    assert torch.allclose(mine, truth.mean(1), atol=1e-6)


def test_windows_cover_everything():
    for size, stride in [(3, 2), (4, 4), (9, 1), (30, 5)]:
        covered = make_masks(11, 8, size, stride)
        assert covered.any(0).all()
        assert covered[0, 0, :size, :size].all()


def hand(x, one, two, unit):
    """Zeiler and Fergus's projection with every step written out, for a chain of two convolutions and a pooling."""
    a1 = F.conv2d(x, one.weight, one.bias, padding=1)
    h1, switches = F.max_pool2d(F.relu(a1), 2, return_indices=True)
    a2 = F.conv2d(h1, two.weight, two.bias, stride=2)
    h2 = F.relu(a2)
    signal = torch.zeros_like(h2)
    for b, k in enumerate(unit):
        place = h2[b, k].argmax()
        signal[b, k].view(-1)[place] = h2[b, k].max()
    back = F.relu(signal)
    back = F.conv_transpose2d(back, two.weight, stride=2)
    back = F.relu(F.max_unpool2d(back, switches, 2, output_size=a1.shape[2:]))
    return F.conv_transpose2d(back, one.weight, padding=1)


class Functional(nn.Module):
    """The same chain by functions instead of modules."""

    def __init__(self, one, two):
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x):
        x = F.max_pool2d(self.one(x).relu_(), 2)
        return torch.relu(self.two(x)).flatten(1)


@pytest.mark.parametrize("inplace", [False, True, None])
def test_deconvnet_by_hand(inplace):
    torch.manual_seed(0)
    one, two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, stride=2)
    relu = nn.ReLU(bool(inplace))
    model = nn.Sequential(one, relu, nn.MaxPool2d(2), two, relu, nn.Flatten())
    model = Functional(one, two) if inplace is None else model
    x = torch.randn(4, 3, 14, 14)
    name = "two" if inplace is None else "3"
    layer = named(model, x, name)
    unit = select_strongest(forward(model, x, [layer]).outputs[0].detach(), 2)
    found = deconvnet(model, x, layer, 2)
    for rank in range(2):
        truth = hand(x, one, two, unit[:, rank]).detach()
        assert float(truth.abs().max()) > 0
        assert torch.allclose(found[:, rank], truth, atol=1e-6)
    if inplace is not None:  # behind the ReLU and before it: a strongest activation is positive
        behind = next(found for found in list_layers(model, x) if found.name == "1#2")
        assert torch.allclose(deconvnet(model, x, behind, unit), found, atol=1e-6)


def test_deconvnet_through_a_shortcut_and_batch_normalization_by_hand():
    """y = ReLU(x + bn(conv(x))): the signal goes through both terms, and bn scales it by γ / σ."""
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
    norm(torch.randn(64, 3, 8, 8) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1))
    nn.init.uniform_(norm.weight, 0.5, 2)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm, self.relu = convolution, norm, nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(x + self.norm(self.convolution(x)))

    model, x = nn.Sequential(Block(), nn.Conv2d(3, 2, 3), nn.Flatten()).eval(), torch.randn(2, 3, 8, 8)
    layer = named(model, x, "1")
    maps = torch.tensor([[0], [1]])
    A = forward(model, x, [layer]).outputs[0].detach()
    signal = torch.zeros_like(A)
    for b in range(2):
        signal[b, b].view(-1)[A[b, b].argmax()] = A[b, b].max()
    back = F.relu(F.conv_transpose2d(signal, model[1].weight))
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(3, 1, 1)
    truth = back + F.conv_transpose2d(back * scale, convolution.weight, padding=1)
    assert torch.allclose(deconvnet(model, x, layer, maps)[:, 0], truth.detach(), atol=1e-5)


def test_deconvnet_of_a_map_that_is_never_active_is_zero():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten())
    nn.init.constant_(model[0].bias, -100)
    x = torch.rand(2, 1, 6, 6)
    assert not deconvnet(model, x, named(model, x, "0")).any()


@both
def test_ascent_never_falls(name):
    model, x, _ = made(name)
    target = torch.arange(5)
    generator = torch.Generator().manual_seed(0)
    seed = 0.5 + 0.1 * torch.randn(5, *x.shape[1:], generator=generator)
    climbed = maximise(class_scores(model, target), seed, 0.0, 1.0, 60, generator=generator)
    assert climbed.objective.shape == (61, 5)
    assert (climbed.objective.diff(dim=0) >= 0).all()
    with torch.no_grad():
        usual = model(torch.rand(500, *x.shape[1:], generator=generator))[:, :5]
    assert (climbed.activation[1] > usual.mean(0) + 5 * usual.std(0)).all()  # no random image comes near
    assert climbed.images.min() >= 0
    assert climbed.images.max() <= 1
    with torch.no_grad():
        assert torch.allclose(model(climbed.images)[range(5), target], climbed.activation[1], atol=1e-5)
    for layer in (named(model, x, n) for n in (["features.c3", "classifier.f6"] if name == "lenet5" else ["norms.1"])):
        units = torch.tensor([0, 2])
        found = maximise(unit_means(model, layer, units), seed[:2], 0.0, 1.0, 30)
        assert (found.objective.diff(dim=0) >= 0).all()
        assert (found.activation[1] > found.activation[0]).all()


def test_ascent_finds_the_maximum_that_is_known():
    """w·x - mean(u²) within [-1, 1]: the best pixel is w in proportion, or the border where w is strong."""
    w = torch.tensor([0.02, -0.5, 3.0, 0.1]).view(1, 2, 2)
    seed = torch.zeros(1, 1, 2, 2)
    found = maximise(lambda x: (w * x).sum((1, 2, 3)), seed, -1.0, 1.0, 300, 0.1, 1 / (2 * 3.62), 0, 0, 0)
    # r = 2 Σ|w|, so that the penalty is mean(u²) = Σx²/16 (u = x/2, four pixels): the slope w - x/8 vanishes at 8w
    assert torch.allclose(found.images[0], (8 * w).clamp(-1, 1), atol=5e-3)  # float32 sees no rise beyond


def test_smoothing_keeps_a_gradient_an_ascent_direction():
    g = torch.randn(20, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    assert ((g * gaussian_blur(g, 1.5)).sum((1, 2, 3)) > 0).all()
    flat = gaussian_blur(torch.ones(1, 1, 21, 21), 1.0)
    assert torch.allclose(flat[0, 0, 5:-5, 5:-5], torch.ones(11, 11))


def test_filters_are_the_weights():
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, 4)
    w = convolution.weight.detach()
    for normalise, largest in (("filter", w.abs().amax((1, 2, 3), keepdim=True)), ("layer", w.abs().max())):
        coloured = filters(convolution, True, normalise)
        assert coloured.shape == (5, 1, 3, 4, 4)
        assert torch.allclose((coloured[:, 0] - 0.5) * 2 * largest, w, atol=1e-6)
        tiles = filters(convolution, False, normalise)
        assert tiles.shape == (5, 3, 1, 4, 4)
        assert torch.allclose((tiles[:, :, 0] - 0.5) * 2 * largest, w, atol=1e-6)
        assert tiles.min() >= 0
        assert tiles.max() <= 1


def test_filters_of_a_transposed_convolution_are_its_outputs():
    """A single 1 in input map i paints output map o with the filter that the tile [o, i] shows."""
    torch.manual_seed(0)
    convolution = nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)
    tiles = filters(convolution, False, "layer")
    assert tiles.shape == (6, 2, 1, 3, 3)
    painted = convolution(torch.eye(4)[:, :, None, None]).detach()  # (input, output, 3, 3)
    for o in range(6):
        for i in range(2):
            tile = (tiles[o, i, 0] - 0.5) * 2 * convolution.weight.abs().max()
            assert torch.allclose(tile, painted[i + 2 * (o // 3), o], atol=1e-6)


def test_layers_in_order_and_their_activations():
    model, x, _ = made("residual")
    found = list_layers(model, x)
    assert [layer.name for layer in found] == [
        *("stem", "relu", "pool", "convolutions.0", "norms.0", "relu#2"),
        *("convolutions.1", "norms.1", "relu#3", "head"),
    ]
    with torch.no_grad():
        stem = model.stem(x)
        pooled = F.max_pool2d(F.relu(stem), 2)
        first = F.relu(pooled + model.norms[0](model.convolutions[0](pooled)))
    values = dict(zip((layer.name for layer in found), activations(model, x, found), strict=True))
    assert torch.allclose(values["stem"], stem)  # though the ReLU worked in place
    assert torch.allclose(values["pool"], pooled)
    assert torch.allclose(values["relu#2"], first)
    assert torch.allclose(values["head"], model(x))
    assert to_grey(values["pool"]).max() == 1
    assert to_grey(torch.tensor([-2.0, 0, 1])).tolist() == [0, 0.5, 0.75]


def test_a_network_that_looks_into_one_corner_is_seen_to():
    """Its score is the light in the upper left corner, 5×5 of 16×16; nothing is trained."""
    model = nn.Sequential(
        OrderedDict(
            one=nn.Conv2d(1, 2, 3, padding=1),
            relu=nn.ReLU(),
            two=nn.Conv2d(2, 2, 3, padding=1),
            act=nn.ReLU(),
            flat=nn.Flatten(),
            dense=nn.Linear(2 * 256, 2),
        )
    ).eval()
    with torch.no_grad():
        for convolution in (model.one, model.two):
            nn.init.constant_(convolution.weight, 0.1)
            nn.init.zeros_(convolution.bias)
        weight = torch.zeros(2, 2, 16, 16)
        weight[1, :, :5, :5] = 1.0
        model.dense.weight.copy_(weight.flatten(1))
        nn.init.zeros_(model.dense.bias)
    corner = torch.full((1, 1, 16, 16), 0.05)
    corner[..., :5, :5] = 0.5
    y = torch.tensor([1])
    cam = upsample(grad_cam(model, corner, y, named(model, corner, "act")), (16, 16))
    assert cam.argmax() in [row * 16 + column for row in range(5) for column in range(5)]
    assert cam[0, :5, :5].mean() > 5 * cam[0, 8:, 8:].mean()
    slope = saliency(model, corner, y)[0]
    assert slope[:7, :7].sum() == slope.sum()  # 5 pixels and the reach of two convolutions
    drop = occlusion(model, corner, y, 4, 2, torch.zeros(1, 1, 1))[0]
    assert drop[8:, 8:].abs().max() == 0
    assert drop.argmax() in [row * 16 + column for row in range(6) for column in range(6)]
    climbed = maximise(class_scores(model, y), torch.full((1, 1, 16, 16), 0.5), 0.0, 1.0, 40, blur=0, jitter=0)
    assert climbed.images[0, 0, :5, :5].min() > 0.9
    assert (climbed.images[0, 0, 9:, 9:] - 0.5).abs().max() < 0.01


DIGITS, IRISES = [str(i) for i in range(10)], ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize(
    ("asked", "names", "classes", "told"),
    [
        ("12", DIGITS, 10, "--class 12 was given; the classes are 0 to 9"),
        ("12", None, 10, "--class 12 was given; the classes are 0 to 9"),
        ("3", IRISES, 3, "--class 3 was given; the classes are setosa, versicolor, virginica (or 0 to 2)"),
        ("setossa", IRISES, 3, "did you mean setosa? the classes are setosa, versicolor, virginica (or 0 to 2)"),
        ("120", ["12", "20"], 2, "--class 120 was given; the classes are 12, 20 (or 0 to 1)"),
        ("x", [f"kind {i}" for i in range(100)], 100, "kind 6, kind 7 and 92 more (or 0 to 99)"),
    ],
)
def test_unknown_classes_are_answered_by_those_there_are(asked, names, classes, told):
    with pytest.raises(UsageError, match=re.escape(told) + "$"):
        parse_class(asked, names, classes)
    assert parse_class("1", names, classes) == 1
    assert parse_class("virginica", IRISES, 3) == 2


def test_looking_leaves_no_trace():
    model, _, _ = made("residual")
    model.train()
    model.norms[0].eval()  # a frozen part
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad(), preserve_state(model):
        assert not model.training
        torch.rand(3)
        saliency(model, torch.rand(2, 3, 16, 16), torch.tensor([0, 1]))
    assert model.training
    assert not model.norms[0].training
    assert model.norms[1].training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
