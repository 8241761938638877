"""GoogLeNet: torchvision's weights and logits, the paper's counts module by module, the auxiliary heads."""

import pytest
import torch
import torch.nn.functional as F
import torchvision

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.convolutional.googlenet import TABLE, GoogLeNet, Head
from dlx.models.heads import Heads
from dlx.tasks.classification import Classification
from tests.parity import PHOTO, assert_same_logits, shapes, summary

VARIANTS = ["torchvision", "paper"]


def theirs(auxiliary=False):
    # Their own initial weights take scipy half a minute; there is no memory behind these.
    return lambda: torchvision.models.googlenet(weights=None, aux_logits=auxiliary, init_weights=False)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_names_and_shapes_are_torchvisions(auxiliary):
    assert shapes(lambda: GoogLeNet(PHOTO, 1000, auxiliary=auxiliary)) == shapes(theirs(auxiliary))


@pytest.mark.parametrize("auxiliary", [False, True])
def test_logits_are_torchvisions(auxiliary):
    torch.manual_seed(0)
    x = torch.randn(1, 3, 224, 224) if auxiliary else torch.randn(2, 3, 65, 100)
    assert_same_logits(lambda: GoogLeNet(PHOTO, 1000, auxiliary=auxiliary), theirs(auxiliary), x)


def test_auxiliary_logits_are_torchvisions():
    """In training mode, without dropout; the batch's own mean and variance normalize."""
    ours = GoogLeNet((3, 96, 96), 10, auxiliary=True, dropout=0, auxiliary_dropout=0)
    others = torchvision.models.googlenet(
        weights=None, num_classes=10, init_weights=False, dropout=0.0, dropout_aux=0.0
    )
    torch.manual_seed(0)
    others.load_state_dict(ours.state_dict())
    x = torch.randn(4, 3, 96, 96)
    found, expected = ours.train()(x), others.train()(x)
    assert found.weight == 0.3
    torch.testing.assert_close(found.scores, expected.logits, rtol=1e-5, atol=1e-5)
    for one, two in zip(found.auxiliary, (expected.aux_logits1, expected.aux_logits2), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "auxiliary", "count"),
    [
        ("torchvision", False, 6624904),
        ("torchvision", True, 13004888),
        ("paper", False, 6998552),
        ("paper", True, 13378280),
    ],
)
def test_counts(variant, auxiliary, count):
    found = summary(lambda: GoogLeNet(PHOTO, 1000, variant, auxiliary))
    assert found.parameters == count
    # Heads are left out when the network is used. Of the paper's, see below.
    assert round(found.macs / 1e9, 3) == {"torchvision": 1.498, "paper": 1.583}[variant]


def test_the_papers_table():
    """Table 1's sizes of the maps and its column of operations, in millions.

    Left out are two misprints: 34 for the first convolution, whose 9,408 weights at 112×112 places make 118, and 54 for
    5a, whose own columns make 51.
    """
    printed = {"3a": 128, "3b": 304, "4a": 73, "4b": 88, "4c": 100, "4d": 119, "4e": 170, "5b": 71}
    outputs = {"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832, "5a": 832, "5b": 1024}
    layers = {layer.name: layer for layer in summary(lambda: GoogLeNet(PHOTO, 1000, "paper")).layers}
    assert layers["maxpool1"].output == [64, 56, 56]
    assert layers["maxpool2"].output == [192, 28, 28]
    assert (layers["conv2.conv"].macs + layers["conv3.conv"].macs) / 1e6 == pytest.approx(360, abs=1)
    assert layers["fc"].macs / 1e6 == pytest.approx(1, abs=0.1)
    for name, maps in outputs.items():
        within = [layer for layer in layers.values() if layer.name.startswith(f"inception{name}.")]
        side = {"3": 28, "4": 14, "5": 7}[name[0]]
        assert all(layer.output[1:] == [side, side] for layer in within)
        one, _, three, _, five, pool = TABLE[name]
        assert one + three + five + pool == maps
        if name in printed:
            assert sum(layer.macs for layer in within) / 1e6 == pytest.approx(printed[name], abs=1)


def test_the_papers_heads_pool_by_its_windows():
    torch.manual_seed(0)
    head = Head(512, 7, paper=True, dropout=0, width=0.1)
    x = torch.randn(2, 512, 14, 14)
    windows = torch.stack([x[:, :, i : i + 5, j : j + 5].mean((2, 3)) for i in (0, 3, 6, 9) for j in (0, 3, 6, 9)], 2)
    maps = F.relu(
        torch.einsum("oi,bip->bop", head.conv.conv.weight[:, :, 0, 0], windows) + head.conv.conv.bias[:, None]
    )
    torch.testing.assert_close(head(x), head.fc2(F.relu(head.fc1(maps.flatten(1)))), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_heads_only_while_learning(variant):
    model, x = GoogLeNet((1, 32, 32), 5, variant, auxiliary=True, width=0.1), torch.randn(3, 1, 32, 32)
    found = model(x)
    assert isinstance(found, Heads)
    assert [scores.shape for scores in (found.scores, *found.auxiliary)] == [(3, 5)] * 3
    assert model.eval()(x).shape == (3, 5)
    assert GoogLeNet((1, 32, 32), 5, variant, width=0.1)(x).shape == (3, 5)


def test_the_loss_is_the_papers():
    """§5: the auxiliary losses count 0.3 each; their gradient reaches the first layer."""
    torch.manual_seed(0)
    model = GoogLeNet((1, 32, 32), 5, "paper", auxiliary=True, dropout=0, auxiliary_dropout=0, width=0.1)
    batch = Batch(torch.randn(6, 1, 32, 32), torch.arange(6) % 5)
    scores, (first, second), _ = model(batch.x)
    expected = F.cross_entropy(scores, batch.y) + 0.3 * sum(F.cross_entropy(s, batch.y) for s in (first, second))
    torch.testing.assert_close(Classification().loss(model, batch), expected)
    F.cross_entropy(first, batch.y).backward()
    assert model.conv1.conv.weight.grad.any()
    assert model.inception4b.branch1.conv.weight.grad is None


@pytest.mark.slow
def test_learns_with_its_heads(train):
    options = ("model.width=0.25", "model.auxiliary=true", "dataset.limit=200", "trainer.epochs=8", "trainer.batch=20")
    metrics = train("run", "model=googlenet", *options).read()["metrics"]
    assert metrics["test/accuracy"] > 0.5


@pytest.mark.parametrize(
    ("variant", "shape"), [("torchvision", (1, 15, 15)), ("paper", (1, 31, 31)), ("paper", (4, 40, 97))]
)
def test_any_image_and_any_width(variant, shape):
    assert GoogLeNet(shape, 7, variant, True, width=0.05).eval()(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(("variant", "least"), [("torchvision", 15), ("paper", 31)])
def test_what_does_not_fit_says_what_would(variant, least):
    with pytest.raises(UsageError, match=rf"model=googlenet .* at least {least}×{least}.*dataset=digits"):
        GoogLeNet((3, least, least - 1), 10, variant)
