"""The CIFAR-10 speed network: whitening against its definition, its fast biases, its averaged views."""

import pytest
import torch
import torch.nn.functional as F

from dlx.models.convolutional.airbench import BIAS_SCALE, Airbench, Norm


def test_parameters_by_arithmetic():
    blocks = sum(9 * (a * b + b * b) + 2 * b for a, b in [(24, 64), (64, 256), (256, 256)])
    assert sum(p.numel() for p in Airbench((3, 32, 32), 10).parameters()) == 24 * 13 + blocks + 2560


def test_whitened_patches_are_uncorrelated():
    """Of images whose neighbours are correlated, the first layer makes maps of unit variance, uncorrelated."""
    torch.manual_seed(0)
    x = F.avg_pool2d(torch.randn(400, 3, 34, 34), 3, 1)
    model = Airbench((3, 32, 32), 10)
    model.prepare(x)
    maps = F.conv2d(x, model.whiten.weight)[:, :12].permute(1, 0, 2, 3).flatten(1)
    covariance = maps @ maps.T / maps.shape[1]
    # The smallest eigenvalues, against which 5e-4 is added, fall a little short of 1.
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.06, rtol=0)
    assert torch.equal(model.whiten.weight[12:], -model.whiten.weight[:12])
    assert not model.whiten.weight.requires_grad


def test_a_bias_that_counts_eightfold_is_one_with_64_times_the_rate():
    torch.manual_seed(0)
    x, lr = torch.randn(16, 4, 5, 5), 0.1
    ours, plain = Norm(4), torch.nn.BatchNorm2d(4)
    target = torch.randn(16, 4, 5, 5)
    for _ in range(3):
        for model, bias, rate in ((ours, ours.bias, lr), (plain, plain.bias, BIAS_SCALE**2 * lr)):
            (grad,) = torch.autograd.grad((model(x) - target).square().mean(), [bias])
            with torch.no_grad():
                bias -= rate * grad
    torch.testing.assert_close(BIAS_SCALE * ours.bias, plain.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("views", ["one", "mirror", "mirror_translate"])
def test_views(views):
    torch.manual_seed(0)
    model = Airbench((3, 16, 16), 10, width=0.1, views=views).eval()
    x = torch.randn(2, 3, 16, 16)
    alone = Airbench((3, 16, 16), 10, width=0.1).eval()
    alone.load_state_dict(model.state_dict())
    expected = alone(x)
    if views != "one":
        expected = (expected + alone(x.flip(3))) / 2
    if views == "mirror_translate":
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        for corner in (padded[..., :16, :16], padded[..., 2:, 2:]):
            expected = expected + (alone(corner) + alone(corner.flip(3))) / 4
        expected = expected / 2
    torch.testing.assert_close(model(x), expected)
    model.train()
    alone.train()
    torch.testing.assert_close(model(x), alone(x))


def test_learns_the_digits_whitened_by_them(train):
    run = train("run", "model=airbench", "model.width=0.25", "trainer.epochs=3", "dataset.limit=600")
    assert run.read()["metrics"]["test/accuracy"] > 0.9
    weights = torch.load(run.checkpoints / "last.pt", weights_only=True)["model"]["whiten.weight"]
    assert torch.equal(weights[4:], -weights[:4])
