"""Adversarial learning: the theory of Goodfellow et al. 2014 on distributions that can be written down, then a ring."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from dlx.batch import Batch
from dlx.datasets.synthetic.points import Ring
from dlx.errors import UsageError
from dlx.models.adversarial.gan import GAN
from dlx.models.freezing import freeze
from dlx.models.mlp import MLP
from dlx.procedures.adversarial.adversarial import Adversarial
from dlx.procedures.adversarial.losses import discriminator_loss, generator_loss, gradient_penalty
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.schedule import Schedule
from dlx.tasks.generation.generation import Generation
from dlx.tasks.generation.measures import mode_coverage
from tests.conftest import same

ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))
LOSSES = ["minimax", "non_saturating", "wasserstein", "hinge"]


def small(shape=(2,), **settings):
    torch.manual_seed(0)
    return GAN(shape, latent=3, generator=[8], discriminator=[8], **settings)


def bound(model, optimizer=ADAM, scheduler=None, **settings):
    if settings.get("loss") == "wasserstein":
        settings.setdefault("gradient_penalty", 10.0)
    procedure = Adversarial(optimizer, scheduler=scheduler, **settings)
    procedure.bind(model, Generation())
    return procedure


# -- Theorem 1 and Proposition 1 -------------------------------------------------------------------------------------


class Outcomes(nn.Module):
    """Six outcomes, a discriminator that may call each what it likes, and a generator that is what it is."""

    def __init__(self, fake):
        super().__init__()
        self.fake = fake  # (n,) outcomes in the generator's proportions
        self.scores = nn.Embedding(6, 1, dtype=torch.float64)
        self.idle = nn.Linear(1, 1)

    def players(self):
        return self.idle, self.scores

    def latent(self, n):
        assert n == len(self.fake)
        return self.fake

    def generate(self, z):
        return z

    def discriminate(self, x):
        return self.scores(x).squeeze(1)

    def follow(self):
        raise AssertionError("the generator is never updated here")


P, Q = np.array([1, 2, 3, 4, 5, 5]) / 20, np.array([6, 5, 4, 3, 1, 1]) / 20


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_optimal_discriminator_on_discrete_distributions(smoothing):
    """D* = p / (p + q), value -log 4 + 2 JSD(p || q); one-sided smoothing makes it (1 - s) p / (p + q)."""
    real, fake = (torch.arange(6).repeat_interleave(torch.tensor(20 * share).round().long()) for share in (P, Q))
    model = Outcomes(fake)
    procedure = bound(
        model, partial(torch.optim.Adam, lr=0.05), discriminator_steps=10**9, label_smoothing=smoothing, watch=0
    )
    for _ in range(1500):
        values = procedure.step(Batch(real))
    best = (1 - smoothing) * P / (P + Q)
    np.testing.assert_allclose(model.scores.weight.sigmoid().detach().numpy()[:, 0], best, rtol=1e-6)
    if not smoothing:
        middle = (P + Q) / 2
        jsd = ((P * np.log(P / middle)).sum() + (Q * np.log(Q / middle)).sum()) / 2
        assert -values["discriminator_loss"].item() == pytest.approx(-math.log(4) + 2 * jsd, abs=1e-9)
        # It calls an outcome real where p > q.
        accuracy = (P[P > Q].sum() + Q[P < Q].sum()) / 2
        assert values["discriminator_accuracy"].item() == pytest.approx(accuracy, abs=1e-6)


# -- the losses ------------------------------------------------------------------------------------------------------


def test_gradients_of_each_loss_equal_hand_formulas():
    a = torch.linspace(-6, 6, 13, dtype=torch.float64, requires_grad=True)
    D, n = a.detach().sigmoid(), len(a)
    by_hand = {
        "minimax": (torch.log(1 - D).mean(), -D / n),
        "non_saturating": (-torch.log(D).mean(), -(1 - D) / n),
        "wasserstein": (-a.detach().mean(), -torch.ones(n, dtype=torch.float64) / n),
        "hinge": (-a.detach().mean(), -torch.ones(n, dtype=torch.float64) / n),
    }
    for kind, (value, gradient) in by_hand.items():
        loss = generator_loss(a, kind)
        torch.testing.assert_close(loss.detach(), value)
        torch.testing.assert_close(torch.autograd.grad(loss, a)[0], gradient)
    real, fake = a, a.detach().flip(0).requires_grad_()
    for kind in ("minimax", "non_saturating"):
        for s in (0.0, 0.1):
            loss = discriminator_loss(real, fake, kind, s)
            value = -((1 - s) * D.log() + s * (1 - D).log()).mean() - (1 - fake.detach().sigmoid()).log().mean()
            torch.testing.assert_close(loss.detach(), value)
            slopes = torch.autograd.grad(loss, [real, fake])
            torch.testing.assert_close(slopes, ((D - (1 - s)) / n, fake.detach().sigmoid() / n))
    loss = discriminator_loss(real, fake, "wasserstein")
    assert loss.item() == pytest.approx((fake.mean() - real.mean()).item())
    torch.testing.assert_close(torch.autograd.grad(loss, fake)[0], torch.full_like(D, 1 / n))
    fake = a.detach() + 0.25  # beside the corners
    loss = discriminator_loss(a, fake.requires_grad_(), "hinge")
    value = (1 - a).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(loss, value)
    slopes = torch.autograd.grad(loss, [a, fake])
    corner = torch.where(a == 1, slopes[0], -(a < 1).double() / n)  # either slope is right on the corner
    torch.testing.assert_close(slopes, (corner.detach(), (fake > -1).double() / n))


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_of_sure_discriminators_are_finite(kind):
    sure = torch.tensor([-1e4, 1e4], requires_grad=True)
    for loss in (discriminator_loss(sure, sure.flip(0), kind), generator_loss(sure, kind)):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, sure)[0].isfinite().all()


def test_minimax_saturates_where_the_other_loss_does_not():
    caught = torch.tensor([-20.0], requires_grad=True)
    assert torch.autograd.grad(generator_loss(caught, "minimax"), caught)[0].abs() < 1e-8
    assert torch.autograd.grad(generator_loss(caught, "non_saturating"), caught)[0].abs() > 0.99


def test_gradient_penalty_of_known_critics():
    torch.manual_seed(0)
    real, fake = torch.randn(64, 3, dtype=torch.float64), torch.randn(64, 3, dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(lambda x: x @ w, real, fake)
    assert penalty.item() == pytest.approx((3 - 1) ** 2)
    torch.testing.assert_close(torch.autograd.grad(penalty, w)[0], 2 * (3 - 1) * w.detach() / 3)
    # ∇ ½‖x‖² = x: where data and samples agree, the points between them are they.
    penalty = gradient_penalty(lambda x: x.square().sum(1) / 2, real, real)
    assert penalty.item() == pytest.approx((real.norm(dim=1) - 1).square().mean().item())
    # Points lie between: from 0 to a point at distance 1 the mean of (u - 1)² over u in [0, 1] is ⅓.
    unit = F.normalize(torch.randn(20000, 3), dim=1)
    assert gradient_penalty(lambda x: x.square().sum(1) / 2, 0 * unit, unit).item() == pytest.approx(1 / 3, abs=0.01)


# -- the procedure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES)
def test_a_step_equals_the_loop_by_hand(kind):
    ours, theirs = small(), small()
    data = [torch.randn(16, 2) for _ in range(5)]
    procedure = bound(ours, loss=kind, gradient_penalty=0.5, discriminator_lr=2e-3)
    torch.manual_seed(1)
    for x in data:
        procedure.step(Batch(x))
    G, D = theirs.generator, theirs.discriminator
    for_G, for_D = ADAM(G.parameters()), ADAM(D.parameters(), lr=2e-3)
    bce = nn.BCEWithLogitsLoss()
    torch.manual_seed(1)
    for x in data:
        made = G(torch.randn(16, 3)).detach()
        real, fake = D(x), D(made)
        if kind == "wasserstein":
            loss = fake.mean() - real.mean()
        elif kind == "hinge":
            loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        else:
            loss = bce(real, torch.ones(16, 1)) + bce(fake, torch.zeros(16, 1))
        between = (x + torch.rand(16, 1) * (made - x)).requires_grad_()
        slope = torch.autograd.grad(D(between).sum(), between, create_graph=True)[0]
        for_D.zero_grad()
        (loss + 0.5 * ((slope.norm(dim=1) - 1) ** 2).mean()).backward()
        for_D.step()
        fake = D(G(torch.randn(16, 3)))
        loss = {
            "minimax": lambda fake: -bce(fake, torch.zeros(16, 1)),
            "non_saturating": lambda fake: bce(fake, torch.ones(16, 1)),
            "wasserstein": lambda fake: -fake.mean(),
            "hinge": lambda fake: -fake.mean(),
        }[kind](fake)
        for_G.zero_grad()
        loss.backward()
        for_G.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_the_generator_waits_for_several_discriminator_steps():
    model = small(average=0.9)
    procedure = bound(model, discriminator_steps=3)
    updated = ["generator_loss" in procedure.step(Batch(torch.randn(8, 2))) for _ in range(7)]
    assert updated == [False, False, True, False, False, True, False]
    assert (procedure.discriminator.updates, procedure.generator.updates) == (7, 2)
    assert model.average.updates == 2


def test_values_are_detached_and_say_what_they_are():
    procedure = bound(small(), watch=2)
    first, second = procedure.step(Batch(torch.randn(8, 2))), procedure.step(Batch(torch.randn(8, 2)))
    scores = {"discriminator_loss", "generator_loss", "discriminator_accuracy"}
    assert set(first) == scores | {"discriminator_gradient_norm", "generator_gradient_norm", "diversity"}
    assert set(second) == scores
    assert not any(value.requires_grad for value in first.values())
    assert set(bound(small(), loss="wasserstein", watch=0).step(Batch(torch.randn(8, 2)))) == {
        "discriminator_loss",
        "generator_loss",
        "gradient_penalty",
        "wasserstein_distance",
    }
    assert {
        name: round(value.item(), 6) for name, value in bound(small(), discriminator_lr=0.5).end_epoch().items()
    } == {
        "lr": 0.001,
        "discriminator_lr": 0.5,
    }


RESUMED = {
    "plain": {},
    "momentum": {"optimizer": partial(torch.optim.SGD, lr=0.01, momentum=0.9)},
    "critic": {"loss": "wasserstein", "discriminator_steps": 3},
    "schedule": {
        "scheduler": partial(Schedule, scheduler=partial(lr_scheduler.ExponentialLR, gamma=0.9), interval="step"),
        "discriminator_lr": 0.01,
    },
}


@pytest.mark.parametrize("name", RESUMED)
def test_resumed_equals_uninterrupted(name, tmp_path):
    """Both optimizers, the moving average and the place between two generator steps are in the state."""
    torch.manual_seed(3)
    data = [Batch(torch.randn(16, 2)) for _ in range(20)]
    settings = {"average": 0.9, "dropout": 0.2, "batch_norm": True}

    def run(procedure, batches, seed):
        torch.manual_seed(seed)
        for batch in batches:
            procedure.step(batch)

    straight = bound(small(**settings), **RESUMED[name])
    run(straight, data[:10], 1)
    run(straight, data[10:], 2)
    first = bound(small(**settings), **RESUMED[name])
    run(first, data[:10], 1)
    torch.save({"model": first.model.state_dict(), "procedure": first.state_dict()}, tmp_path / "last.pt")
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    second = bound(small(**settings), **RESUMED[name])
    second.model.load_state_dict(content["model"])
    second.load_state_dict(content["procedure"])
    run(second, data[10:], 2)
    assert same(straight.model.state_dict(), second.model.state_dict())
    assert same(straight.state_dict(), second.state_dict())


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_a_frozen_player_plays_and_does_not_learn(name):
    model = small(average=0.5)
    freeze(model, [name])
    kept, other = model.players() if name == "generator" else model.players()[::-1]
    before, moved = (copy.deepcopy(network.state_dict()) for network in (kept, other))
    procedure = bound(model, gradient_penalty=1.0)
    for _ in range(3):
        values = procedure.step(Batch(torch.randn(8, 2)))
    assert same(kept.state_dict(), before)
    assert not same(other.state_dict(), moved)
    assert {"generator_loss", "discriminator_loss"} <= set(values)
    assert set(procedure.end_epoch()) == ({"discriminator_lr"} if name == "generator" else {"lr"})
    again = bound(model)
    again.load_state_dict(procedure.state_dict())
    assert same(again.state_dict(), procedure.state_dict())


def test_a_scaled_loss_makes_the_same_steps():
    models = small(), small()
    for model, scaler in zip(models, (None, LossScale()), strict=True):
        procedure = bound(model)
        procedure.scaler = scaler
        torch.manual_seed(1)
        for _ in range(10):
            procedure.step(Batch(torch.randn(16, 2)))
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="gradient_penalty=10"):
        Adversarial(ADAM, loss="wasserstein")
    with pytest.raises(UsageError, match="label_smoothing=0"):
        Adversarial(ADAM, loss="wasserstein", gradient_penalty=1.0, label_smoothing=0.1)
    with pytest.raises(UsageError, match="loss=hinge, which has no labels"):
        Adversarial(ADAM, loss="hinge", label_smoothing=0.1)
    with pytest.raises(UsageError, match="MLP; needed: a model with players, latent, generate, discriminate, follow"):
        bound(MLP([2], 1))
    with pytest.raises(UsageError, match="scheduler=constant"):
        bound(small(), scheduler=partial(Schedule, scheduler=lr_scheduler.ReduceLROnPlateau))
    with pytest.raises(UsageError, match="optimizer refused its values"):
        bound(small(), partial(ADAM, lr=-1.0))


# -- all of it -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_ring_is_found():
    """1,600 steps of a small game: three seeds found all 8 modes with 60 to 70 % of the samples within 3σ."""
    dataset = Ring()
    dataset.load()
    x = dataset.splits["train"].x
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        sizes = {"generator": [64, 64], "discriminator": [64, 64]}
        model = GAN([2], latent=16, **sizes, activation="tanh", discriminator_activation="tanh", average=0.99)
        procedure = bound(model, partial(ADAM, lr=2e-3), watch=0)
        for _ in range(1600):
            procedure.step(Batch(x[torch.randint(len(x), (128,))]))
        found = mode_coverage(model.eval().sample(2500), dataset.centres, dataset.std)
        assert found["modes"] >= 7
        assert found["high_quality"] > 0.4
        assert found["mode_divergence"] < 0.3
