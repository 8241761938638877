"""Chains of contrastive divergence: where their fantasies come from, and that they have the right distribution."""

import itertools
from functools import partial

import pytest
import torch

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.boltzmann.rbm import RBM
from dlx.optimizers.momentum_ramp import MomentumRamp
from dlx.procedures.chains import FastWeightChains, TemperedChains, make_chains
from dlx.procedures.contrastive_divergence import ContrastiveDivergence
from dlx.tasks.density import Density


def states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def bound(rbm, lr=1.0, **options):
    procedure = ContrastiveDivergence(partial(torch.optim.SGD, lr=lr), **options)
    procedure.bind(rbm, Density())
    return procedure


def islands():
    """Two patterns that plain Gibbs sampling hardly ever crosses between, and one weak unit, (4 visible, 3 hidden)."""
    rbm = RBM([4], hidden=3).requires_grad_(False)
    rbm.W.copy_(torch.tensor([[16.0, 0, 0.5], [16, 0, 0], [-16, 0, 0], [-16, 0, -0.5]]))
    rbm.b.copy_(torch.tensor([-8.0, -8, 8, 8]))
    rbm.c.copy_(torch.tensor([0.4, 0, 0]))
    return rbm


def frequencies(v, n=4):
    return torch.bincount((v @ torch.tensor([8.0, 4, 2, 1])).long(), minlength=2**n) / len(v)


def test_tempered_chains_cross_between_modes():
    rbm = islands()
    exact = (-rbm.free_energy(states(4)) - rbm.log_partition()).exp()
    near, far = {}, {}
    for name, made in (
        ("plain", make_chains(1, True, 1000, None, 0.95, None)),
        ("tempered", TemperedChains(1, 1000, 8)),
    ):
        torch.manual_seed(0)
        made.bind(rbm, [])
        x = torch.tensor([[0.0, 0, 1, 1]])
        made.states = x.expand(1000, 4).clone() if name == "plain" else x.expand(8, 1000, 4).clone()
        seen = [made.advance(x).clone() for _ in range(60)][20:]
        gap = float((frequencies(torch.cat(seen)) - exact).abs().sum())
        (near if name == "tempered" else far)[name] = gap
    # begun in the mode whose probability is 0.29; over five seeds at most 0.05, and 1.42 where no chain crossed
    assert near["tempered"] < 0.1
    assert far["plain"] > 0.8


def test_tempered_chains_keep_the_distribution():
    """Exchanged or not, the coolest replica has the machine's own distribution."""
    torch.manual_seed(1)
    rbm = RBM([4], hidden=3).requires_grad_(False)
    rbm.W.copy_(torch.randn(4, 3))
    rbm.b.copy_(torch.randn(4))
    made = TemperedChains(2, 4000, 4)
    made.bind(rbm, [])
    seen = torch.cat([made.advance(torch.zeros(1, 4)) for _ in range(30)][10:])
    exact = (-rbm.free_energy(states(4)) - rbm.log_partition()).exp()
    assert float((frequencies(seen) - exact).abs().max()) < 0.01


def test_fast_weights_follow_their_equation_and_leave_no_trace():
    torch.manual_seed(0)
    rbm, x = RBM([4], hidden=3), states(4)[::3]
    procedure = bound(rbm, persistent=True, chains=5, fast_lr=0.1, fast_decay=0.9)
    fast = procedure.chains
    assert isinstance(fast, FastWeightChains)
    gradients = []
    learned = fast.on_update
    fast.on_update = lambda g: (gradients.append([one.clone() for one in g]), learned(g))
    for _ in range(3):
        before = [p.detach().clone() for p in rbm.parameters()]
        procedure.step(Batch(x))
        for p, old, gradient in zip(rbm.parameters(), before, gradients[-1], strict=True):
            assert torch.equal(p.detach(), old - gradient)  # the regular weights learn as ever
    expected = [-0.1 * (0.81 * a + 0.9 * b + c) for a, b, c in zip(*gradients, strict=True)]
    for one, other in zip(fast.fast, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("options", [{"fast_lr": 0.1}, {"temperatures": 3}, {}])
def test_chains_resume_exactly(options):
    x = states(4)[::3]

    def trained(stop):
        torch.manual_seed(0)
        rbm = RBM([4], hidden=3)
        procedure = bound(rbm, persistent=True, chains=5, **options)
        for step in range(6):
            if step == stop:
                state, weights = procedure.state_dict(), rbm.state_dict()
                rbm = RBM([4], hidden=3)
                rbm.load_state_dict(weights)
                procedure = bound(rbm, persistent=True, chains=5, **options)
                procedure.load_state_dict(state)
            torch.manual_seed(step)
            procedure.step(Batch(x))
        return rbm

    for a, b in zip(trained(None).parameters(), trained(3).parameters(), strict=True):
        assert torch.equal(a, b)


def test_sparsity_draws_units_to_the_target():
    torch.manual_seed(0)
    x = (torch.rand(200, 12) < 0.5).float()
    activity = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(1)
        rbm = RBM([12], hidden=10)
        procedure = bound(rbm, lr=0.1, sparsity_target=0.1, sparsity_weight=weight)
        for _ in range(400):
            values = procedure.step(Batch(x))
        activity[weight] = float(rbm.encode(x).mean().detach())
        after = float((rbm.encode(x).detach().mean(0) - 0.1).abs().mean())
        assert float(values["sparsity"]) == pytest.approx(after, abs=0.02)
    assert activity[0.0] > 0.3
    assert activity[1.0] == pytest.approx(0.1, abs=0.03)


def test_the_sparsity_gradient_by_hand():
    torch.manual_seed(0)
    rbm, v = RBM([4], hidden=3), states(4)[::2]
    q = torch.sigmoid(v @ rbm.W + rbm.c).mean(0)
    distance, (W, b, c) = rbm.sparsity_gradient(v, 0.2)
    assert torch.allclose(c, q - 0.2)
    assert torch.allclose(W, v.mean(0)[:, None] * (q - 0.2))
    assert not b.any()
    assert torch.allclose(distance, (q - 0.2).abs().mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fast_lr": 0.1}, "procedure.persistent=true procedure.fast_lr=0.1"),
        ({"temperatures": 4}, "procedure.persistent=true procedure.temperatures=4"),
        ({"fast_lr": 0.1, "temperatures": 4, "persistent": True}, "one of them"),
    ],
)
def test_chains_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        bound(RBM([4], hidden=3), **options)


def test_momentum_grows():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    ramp = MomentumRamp(optimizer, first=0.5, epochs=2, total=4)
    seen = []
    for _ in range(5):
        seen.append((optimizer.param_groups[0]["momentum"], optimizer.param_groups[0]["lr"]))
        optimizer.step()
        ramp.step()
    assert [momentum for momentum, _ in seen] == [0.5, 0.5, 0.9, 0.9, 0.9]
    assert [rate for _, rate in seen] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.0])
    with pytest.raises(ValueError, match="momentum"):
        MomentumRamp(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]))


def test_gaussian_units_by_integration():
    """F(v) of both Gaussian layers, and the partition function, against sums and integrals on a grid."""
    torch.manual_seed(0)
    grid = torch.linspace(-12, 12, 2401, dtype=torch.float64)
    width = float(grid[1] - grid[0])
    for visible, hidden in (("gaussian", "binary"), ("binary", "gaussian")):
        rbm = RBM([2], hidden=1, visible_units=visible, hidden_units=hidden).double().requires_grad_(False)
        rbm.W.copy_(torch.tensor([[0.7], [-0.9]]))
        rbm.b.copy_(torch.tensor([0.3, -0.2]))
        rbm.c.copy_(torch.tensor([0.4]))
        if visible == "gaussian":
            v = torch.cartesian_prod(grid[::20], grid[::20])
            h = states(1).double()
            energy = v.square().sum(1)[:, None] / 2 - (v @ rbm.b)[:, None] - h @ rbm.c - v @ rbm.W @ h.T
            assert torch.allclose(rbm.free_energy(v), -(-energy).logsumexp(1))
            total = (-rbm.free_energy(v)).logsumexp(0) + 2 * torch.tensor(20 * width).log()
        else:
            v, h = states(2).double(), grid[:, None]
            energy = h.square().sum(1) / 2 - (v @ rbm.b)[:, None] - h @ rbm.c - v @ rbm.W @ h.T
            log_sums = (-energy).logsumexp(1) + torch.tensor(width).log()
            constant = 0.5 * torch.log(torch.tensor(2 * torch.pi))
            assert torch.allclose(-rbm.free_energy(v) + constant, log_sums)  # F leaves the constant to log Z
            total = log_sums.logsumexp(0)
        assert torch.allclose(rbm.log_partition(), total.double())


def test_gaussian_units_on_both_sides_are_refused():
    with pytest.raises(UsageError, match="hidden_units=binary"):
        RBM([4], hidden=3, visible_units="gaussian", hidden_units="gaussian")


def test_gaussian_visible_units_learn_a_density(train):
    run = train(
        "a", "model=rbm", "model.visible_units=gaussian", "model.hidden=8", "dataset=iris",
        "trainer.epochs=60",
    )  # fmt: skip
    metrics = run.read()["metrics"]
    # four standardised columns: independent Gaussians of unit variance would have -5.68
    assert metrics["test/log_likelihood"] > -5.0
