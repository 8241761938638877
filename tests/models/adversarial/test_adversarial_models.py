"""The networks of adversarial learning: shapes, first weights, labels, the moving average, and how they resume."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.adversarial.average import MovingAverage
from dlx.models.adversarial.dcgan import DCGAN
from dlx.models.adversarial.gan import GAN
from dlx.models.adversarial.wgan_gp import WGANGP
from dlx.procedures.adversarial.adversarial import Adversarial
from dlx.tasks.generation.generation import Generation
from tests.conftest import same

ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))


def small(shape=(2,), **settings):
    torch.manual_seed(0)
    return GAN(shape, latent=3, generator=[8], discriminator=[8], **settings)


def thin(kind, shape=(1, 12, 12), **settings):
    torch.manual_seed(0)
    return kind(shape, latent=5, width=0.1, **settings)


def bound(model, **settings):
    procedure = Adversarial(ADAM, **settings)
    procedure.bind(model, Generation())
    return procedure


# -- dense layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "output", "low", "high"),
    [((1, 8, 8), "auto", 0, 1), ((3, 6, 5), "tanh", -1, 1), ((1, 8, 8), "sigmoid", 0, 1)],
)
def test_shapes_and_ranges(shape, output, low, high):
    model = small(shape, output=output)
    samples = model.sample(7)
    assert samples.shape == (7, *shape)
    assert low <= samples.min() < samples.max() <= high
    assert not samples.requires_grad
    assert model(samples).shape == (7,)
    assert isinstance(small((2,)).generator[1], nn.Identity)


def test_priors():
    normal, uniform = small().latent(50000), small(prior="uniform").latent(50000)
    assert normal.shape == (50000, 3)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.02)
    assert uniform.abs().max() <= 1
    assert (uniform.mean().item(), uniform.var().item()) == pytest.approx((0, 1 / 3), abs=0.02)


def test_moving_average_follows_its_equation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(network, decay=0.5)
    assert list(average.parameters()) == [], "no gradient moves it, and it counts for no parameter"
    mean = network[0].weight.detach().double()
    for t in range(1, 20):
        with torch.no_grad():
            network[0].weight += torch.randn(2, 2)
        network(torch.randn(8, 2))
        average.follow(network)
        beta = min(0.5, (1 + t) / (10 + t))
        mean = beta * mean + (1 - beta) * network[0].weight.detach().double()
        torch.testing.assert_close(average.network[0].weight.double(), mean, rtol=1e-5, atol=1e-6)
    assert average.network[1].num_batches_tracked == 19


def test_samples_come_from_the_average():
    model = small(average=0.9)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.zero_()
    assert not model.generate(model.latent(4)).any()
    assert model.sample(4).any()
    fresh = small(average=0.9)
    fresh.load_state_dict(model.state_dict())
    torch.manual_seed(5)
    samples = model.sample(4)
    torch.manual_seed(5)
    assert torch.equal(fresh.sample(4), samples)


# -- convolutions ----------------------------------------------------------------------------------------------------


def test_the_papers_dcgan():
    """Figure 1: 100 → 1024×4×4 → 512×8×8 → 256×16×16 → 128×32×32 → 3×64×64."""
    with torch.device("meta"):
        model = DCGAN([3, 64, 64], prior="uniform", output="tanh")
    maps = []
    kinds = (nn.Unflatten, nn.ConvTranspose2d, nn.Conv2d)
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda module, given, made: maps.append(tuple(made.shape[1:])))
    z = torch.rand(2, 100, device="meta")
    model.discriminate(model.generate(z))
    up = [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert maps == [*up, *up[3::-1]]
    assert isinstance(model.generator[-1], nn.Tanh)
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 4 + 3, "all but the generator's output and the discriminator's input"


@pytest.mark.parametrize("kind", [DCGAN, WGANGP])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 13, 27), (2, 9, 64)])
def test_sizes_follow_the_dataset(kind, shape):
    model = thin(kind, shape, average=0.9)
    samples = model.sample(4)
    assert samples.shape == (4, *shape)
    assert 0 <= samples.min() < samples.max() <= 1
    assert model(samples).shape == (4,)
    assert min(model.generator[1].unflattened_size[1:]) in range(4, 8)


def test_first_weights_of_the_dcgan():
    torch.manual_seed(0)
    model = DCGAN([1, 16, 16], width=0.5, average=0.9)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert module.weight.mean().item() == pytest.approx(0, abs=2e-3)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        elif isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad:
            assert module.weight.mean().item() == pytest.approx(1, abs=0.01)
    assert same(model.average.network.state_dict(), model.generator.state_dict()), "the average starts as a copy"


def test_no_score_of_the_critic_depends_on_its_batch():
    x, shape = torch.rand(6, 1, 16, 16), (1, 16, 16)
    for norm in ("none", "layer"):
        model = thin(WGANGP, shape, norm=norm)
        torch.testing.assert_close(model(x)[:2], model(x[:2]))
        assert not any(isinstance(module, nn.BatchNorm2d) for module in model.discriminator.modules())
    model = thin(DCGAN, shape)
    assert not torch.allclose(model(x)[:2], model(x[:2])), "the discriminator's batch norm ties them"


def test_too_small_or_no_images_are_refused():
    for kind in (DCGAN, WGANGP):
        with pytest.raises(UsageError, match="at least 8×8"):
            thin(kind, (1, 7, 9))
        with pytest.raises(UsageError, match="at least 8×8"):
            thin(kind, (2,))


# -- labels ----------------------------------------------------------------------------------------------------------

KINDS = {
    "gan": lambda **settings: small((1, 12, 12), **settings),
    "dcgan": lambda **settings: thin(DCGAN, **settings),
    "wgan_gp": lambda **settings: thin(WGANGP, **settings),
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_players_hear_the_label(kind):
    model = KINDS[kind](conditional=True, classes=3, average=0.5).eval()
    assert model.conditional
    z, x = model.latent(4), torch.rand(4, 1, 12, 12)
    zero, one = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    assert not torch.allclose(model.generate(z, zero), model.generate(z, one))
    assert not torch.allclose(model.discriminate(x, zero), model.discriminate(x, one))
    torch.manual_seed(1)
    assert torch.equal(model.sample(4, zero), (torch.manual_seed(1), model.decode(model.latent(4), zero))[1])
    assert model.sample(5).shape == (5, 1, 12, 12)
    assert model(x).shape == (4,), "without labels, for a graph of the network"


def test_the_projection_of_the_conditional_discriminator():
    model = thin(DCGAN, conditional=True, classes=3).eval()
    D, x, y = model.discriminator, torch.rand(4, 1, 12, 12), torch.tensor([0, 2, 1, 2])
    features = D.features(x).flatten(1)
    by_hand = (features * (D.score.weight + D.embed.weight.T[y])).sum(1) + D.score.bias
    torch.testing.assert_close(model.discriminate(x, y), by_hand)
    # Without a label: the mean of what it says with each, since the score is linear in the label.
    each = torch.stack([model.discriminate(x, torch.full((4,), k)) for k in range(3)])
    torch.testing.assert_close(model(x), each.mean(0))


def test_labels_are_learned():
    """Two classes at two places of a line: samples of each class stand where its data do."""
    torch.manual_seed(0)
    model = GAN([1], latent=4, generator=[32], discriminator=[32], conditional=True, classes=2, average=0.98)
    procedure = Adversarial(partial(ADAM, lr=3e-3), gradient_penalty=1.0, watch=0)
    procedure.bind(model, Generation())
    for _ in range(600):
        y = torch.randint(2, (64,))
        procedure.step(Batch((4.0 * y - 2 + 0.1 * torch.randn(64))[:, None], y))
    for label in (0, 1):
        samples = model.sample(500, torch.full((500,), label))
        assert samples.mean().item() == pytest.approx(4 * label - 2, abs=0.4)
        assert samples.std().item() < 0.5


def test_labels_where_there_are_none():
    with pytest.raises(UsageError, match="needed: labelled data"):
        small(conditional=True)
    with pytest.raises(UsageError, match=r"model\.conditional=true"):
        small().sample(2, torch.zeros(2, dtype=torch.int64))
    procedure = bound(small(conditional=True, classes=3))
    with pytest.raises(UsageError, match="no labels"):
        procedure.step(Batch(torch.randn(4, 2)))


# -- the latent space ------------------------------------------------------------------------------------------------


def test_ways_through_the_latent_space():
    model, part = small(), torch.linspace(0, 1, 5)[:, None]
    start, end = F.normalize(torch.randn(5, 3), dim=1), F.normalize(torch.randn(5, 3), dim=1)
    way = model.between(start, end, part)
    torch.testing.assert_close(way.norm(dim=1), torch.ones(5)), "the great circle stays at the same distance"
    torch.testing.assert_close((way[0], way[-1]), (start[0], end[-1]), atol=1e-6, rtol=1e-5)
    # At the part t of the way, t of the angle lies behind.
    angle = (start * end).sum(1).acos()
    torch.testing.assert_close((start * way).sum(1).clamp(max=1).acos(), angle * part[:, 0], atol=1e-3, rtol=1e-3)
    straight = small(prior="uniform").between(start, end, part)
    torch.testing.assert_close(straight, start + part * (end - start))


# -- resuming --------------------------------------------------------------------------------------------------------

GAMES = {
    "dcgan": ("dcgan", {}, {}),
    "wgan_gp": ("wgan_gp", {}, {"loss": "wasserstein", "gradient_penalty": 10.0, "discriminator_steps": 3}),
    "conditional gan": ("gan", {"conditional": True, "classes": 3}, {"loss": "hinge"}),
    "conditional dcgan": ("dcgan", {"conditional": True, "classes": 3}, {"label_smoothing": 0.1}),
}


@pytest.mark.parametrize("name", GAMES)
def test_resumed_equals_uninterrupted(name, tmp_path):
    kind, settings, rules = GAMES[name]
    torch.manual_seed(3)
    data = [Batch(torch.rand(8, 1, 12, 12), torch.randint(3, (8,))) for _ in range(14)]

    def make():
        return bound(KINDS[kind](average=0.9, **settings), watch=2, **rules)

    def run(procedure, batches, seed):
        torch.manual_seed(seed)
        for batch in batches:
            procedure.step(batch)

    straight = make()
    run(straight, data[:7], 1)
    run(straight, data[7:], 2)
    first = make()
    run(first, data[:7], 1)
    torch.save({"model": first.model.state_dict(), "procedure": first.state_dict()}, tmp_path / "last.pt")
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    second = make()
    second.model.load_state_dict(content["model"])
    second.load_state_dict(content["procedure"])
    run(second, data[7:], 2)
    assert same(straight.model.state_dict(), second.model.state_dict())
    assert same(straight.state_dict(), second.state_dict())
    assert straight.collapse_detector.recent["diversity"]
