"""Parts of a network that do not learn: which they are, and that they stay as they are."""

import copy

import pytest
import torch
from torch import nn

from dlx.errors import UsageError
from dlx.models.convolutional.cnn import CNN
from dlx.models.convolutional.lenet5.lenet5 import LeNet5
from dlx.models.convolutional.resnet import ResNet
from dlx.models.freezing import freeze
from dlx.models.layers import find_constrained
from dlx.models.mlp import MLP


def net():
    layers = [{"conv": 4, "batch_norm": True}, {"max_pool": 2}, {"conv": 6, "batch_norm": True}]
    return CNN((1, 10, 10), 10, [*layers, {"dense": 8, "dropout": 0.5}])


def learning(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def test_globs():
    model = net()
    assert freeze(model, ["layers.conv0*", "layers.dense3"]) == ["layers.conv0", "layers.conv0_norm", "layers.dense3"]
    others = ("conv2", "conv2_norm", "output")
    assert learning(model) == [f"layers.{name}.{part}" for name in others for part in ("weight", "bias")]
    assert freeze(LeNet5((1, 28, 28), 10), "features") == ["features"]
    assert freeze(net(), []) == freeze(net(), None) == []


def test_frozen_modules_stay_in_evaluation_mode():
    model = net()
    freeze(model, ["layers.conv0*", "layers.dense3*"])
    copied = copy.deepcopy(model)
    for one in (model, copied):
        one.train()
        evaluating = [name for name, module in one.layers.named_children() if not module.training]
        conv = ["conv0", "conv0_norm", "conv0_act"]
        assert evaluating == [*conv, "dense3_flatten", "dense3", "dense3_act", "dense3_dropout"]
        assert one.training
    model.eval()
    assert not any(module.training for module in model.modules())
    assert copied.training, "a copy goes its own way"


def test_backbone_is_all_before_the_last_layer():
    model = net()
    freeze(model, "backbone")
    assert learning(model) == ["layers.output.weight", "layers.output.bias"]
    model.train()
    assert not model.layers.conv2_norm.training
    assert model.layers.dense3_dropout.training, "dropout before the last layer is the last layer's"
    model = MLP([4], 3, hidden=[5, 6])
    freeze(model, ["backbone"])
    assert learning(model) == ["layers.4.weight", "layers.4.bias"]

    stages = ["layer1", "layer2", "layer3", "layer4"]
    assert freeze(ResNet((3, 32, 32), 10, width=0.1), "backbone") == ["conv1", "bn1", *stages], "blocks as wholes"

    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3))
            self.body, self.head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), nn.Linear(3, 2)

    model = Token()
    assert freeze(model, "backbone") == ["body"]
    assert learning(model) == ["head.weight", "head.bias"]


def test_freezing_that_cannot_be():
    with pytest.raises(
        UsageError, match=r"freeze=conv was given.* did you mean layers.conv0\?.*backbone, or globs over"
    ):
        freeze(net(), ["conv"])
    with pytest.raises(UsageError, match=r"freeze=\[features,classifier\] was given, which leaves nothing to learn"):
        freeze(LeNet5((1, 28, 28), 10), ["features", "classifier"])
    with pytest.raises(UsageError, match="MLP, which has no layer before its last one"):
        freeze(MLP([4], 3, hidden=[]), "backbone")


def test_a_frozen_layer_keeps_weights_longer_than_its_bound():
    model = MLP([4], 3, hidden=[50, 50], max_norm=0.1)
    freeze(model, ["layers.0"])
    assert find_constrained(model) == [model.layers[2]]
