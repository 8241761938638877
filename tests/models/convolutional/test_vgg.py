"""VGG: torchvision's weights and logits, the paper's counts, the removed head."""

import pytest
import torch
import torchvision

from dlx.errors import UsageError
from dlx.models.convolutional.vgg import STAGES, VGG
from tests.parity import PHOTO, assert_same_logits, shapes, summary

# Table 2 of the paper, in millions, and the multiply-adds at 224×224.
PUBLISHED = {11: (133, 7.609), 13: (133, 11.308), 16: (138, 15.47), 19: (144, 19.632)}


def theirs(depth, batch_norm=False):
    name = f"vgg{depth}{'_bn' if batch_norm else ''}"
    return lambda: getattr(torchvision.models, name)(weights=None)


@pytest.mark.parametrize("depth", STAGES)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_names_and_shapes_are_torchvisions(depth, batch_norm):
    assert shapes(lambda: VGG(PHOTO, 1000, depth, batch_norm)) == shapes(theirs(depth, batch_norm))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_are_torchvisions(batch_norm):
    torch.manual_seed(0)
    assert_same_logits(lambda: VGG(PHOTO, 1000, 11, batch_norm), theirs(11, batch_norm), torch.randn(1, 3, 64, 32))


@pytest.mark.parametrize(("depth", "published"), PUBLISHED.items())
def test_counts(depth, published):
    found = summary(lambda: VGG(PHOTO, 1000, depth))
    assert (round(found.parameters / 1e6), round(found.macs / 1e9, 3)) == published
    assert found.output == [1000]


def test_vgg16_to_the_last_parameter():
    found = summary(lambda: VGG(PHOTO, 1000, 16))
    assert found.parameters == 138357544
    assert sum(layer.parameters for layer in found.layers if layer.type == "Conv2d") == 14714688
    assert round(found.macs / 1e9, 2) == 15.47


def test_without_its_head():
    """512 means and one dense layer; the convolutions have the same weights."""
    found = summary(lambda: VGG(PHOTO, 1000, 16, head="none"))
    assert found.parameters == 14714688 + 512 * 1000 + 1000
    torch.manual_seed(0)
    model = VGG((1, 32, 64), 3, 11, head="none", dropout=0, width=0.1)
    x = torch.randn(2, 1, 32, 64)
    means = model.features(x).mean((2, 3))
    torch.testing.assert_close(model(x), means @ model.classifier[1].weight.T + model.classifier[1].bias)


@pytest.mark.parametrize("head", ["dense", "none"])
@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 40, 97)])
def test_any_image_and_any_width(head, shape):
    model = VGG(shape, 7, 13, True, head, hidden=100, width=0.1)
    assert model(torch.randn(2, *shape)).shape == (2, 7)
    assert [layer.out_features for layer in model.classifier if isinstance(layer, torch.nn.Linear)][:-1] == (
        [10, 10] if head == "dense" else []
    )


@pytest.mark.parametrize("depth", STAGES)
def test_what_does_not_fit_says_what_would(depth):
    with pytest.raises(UsageError, match=rf"model=vgg{depth} .* at least 32×32.*dataset=digits32"):
        VGG((3, 32, 31), 10, depth)


@pytest.mark.slow
def test_learns_the_digits(train):
    """As its file has it but thin: a rate ten times as large leaves the full network at chance."""
    metrics = train("run", "model=vgg11", "model.width=0.2", "dataset.limit=600", "trainer.epochs=12").read()["metrics"]
    assert metrics["test/accuracy"] > 0.4  # chance is 0.1
