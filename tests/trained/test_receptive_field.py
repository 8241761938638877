"""Receptive fields are what a gradient says, and for known networks what is known."""

import pytest
import torch
from torch import nn

from dlx.config.compose import compose
from dlx.instantiate import build
from dlx.trained.receptive_field import find_receptive_fields
from dlx.trained.summary import summarise


def measured(model, name, x):
    """Rows of x that change a unit in the middle of a module's output: the weights are positive, so no path is lost."""
    for parameter in model.parameters():
        parameter.data = parameter.data.abs() + 0.01
    found = {}
    hook = dict(model.named_modules())[name].register_forward_hook(lambda m, i, o: found.setdefault("y", o))
    x = x.clone().requires_grad_()
    model(x)
    hook.remove()
    y = found["y"]
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    rows = x.grad[0].abs().sum((0, 2)).nonzero()
    return int(rows.max() - rows.min()) + 1


@pytest.mark.parametrize("network", ["resnet20", "cnn"])
def test_the_gradient_sees_as_far(network):
    layers = ["model.layers=[{conv: 4, kernel: 5, stride: 2}, {conv: 4, kernel: 3, dilation: 2}, {conv: 3, kernel: 3}]"]
    words = layers if network == "cnn" else ["model.width=0.2"]
    model = build(compose([f"model={network}", *words, "dataset=digits96"]), "model").eval()
    x = torch.rand(1, *build(compose(["dataset=digits96"]), "dataset").shape)
    fields = find_receptive_fields(model, x)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and fields[name] < 48]
    assert len(names) >= 3
    for name in names[:: max(1, len(names) // 4)]:
        assert fields[name] == measured(model, name, x), name


def test_those_that_are_known():
    """VGG-16 sees 212 before its dense layers, AlexNet 195: Araujo et al. 2019, table 1."""
    for model, known in {"vgg16": 212, "alexnet": 195}.items():
        summary = summarise(compose([f"model={model}", "dataset.shape=[3,224,224]", "dataset.classes=1000"]))
        fields = [layer.receptive_field for layer in summary.layers if layer.type == "MaxPool2d"]
        assert fields[-1] == known
        assert summary.layers[-1].receptive_field >= 224


def test_only_of_images():
    assert find_receptive_fields(nn.Linear(3, 2), torch.rand(1, 3)) == {}
    assert all(layer.receptive_field is None for layer in summarise(compose(["model=mlp"])).layers)
