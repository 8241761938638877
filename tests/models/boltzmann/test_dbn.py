"""The deep belief network against enumeration and autograd."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from dlx.models.boltzmann.ais import anneal
from dlx.models.boltzmann.dbn import DBN, log_bernoulli
from dlx.models.boltzmann.units import BinaryWithLabel


def states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def network(visible=4, hidden=(3, 3), seed=0, **options):
    torch.manual_seed(seed)
    dbn = DBN([visible], list(hidden), **options).double()
    with torch.no_grad():
        for p in dbn.parameters():
            p.copy_(torch.randn_like(p))
    return dbn


def log_top(dbn, below, label=None):
    """log of the unnormalised probability of the layer below the top RBM (and of a label), by hand."""
    v = below if label is None else torch.cat([below, F.one_hot(torch.tensor(label), dbn.label_units).to(below)])
    terms = [v @ dbn.top.b + h @ dbn.top.c + v @ dbn.top.W @ h for h in states(len(dbn.top.c))]
    return torch.stack(terms).logsumexp(0)


@torch.no_grad()
@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("labels", [None, 2])
def test_the_bound_is_a_bound(labels, untied):
    dbn = network(outputs=labels, labelled=labels is not None)
    if untied:
        dbn.untie()
        dbn.directed[0].W.add_(0.3)
    which = [None] if labels is None else range(labels)
    prior = torch.stack([torch.stack([log_top(dbn, h, k) for k in which]).logsumexp(0) for h in states(3)])
    log_Z = prior.logsumexp(0)
    assert torch.allclose(dbn.log_partition(), log_Z)
    v = states(4)
    down = torch.stack([dbn.generate_below(0, h[None]).expand(16, -1) for h in states(3)])  # (8, 16, 4)
    log_p = torch.stack([log_bernoulli(v, p) for p in down]) + prior[:, None] - log_Z  # (8, 16)
    exact = log_p.logsumexp(0)
    assert torch.allclose(exact.logsumexp(0), torch.zeros((), dtype=torch.float64), atol=1e-9)
    q = dbn.rbm(0).encode(v)
    log_q = torch.stack([log_bernoulli(h.expand(16, -1), q) for h in states(3)])
    expected = (log_q.exp() * (log_p - log_q)).sum(0)
    assert (expected <= exact).all()
    torch.manual_seed(0)
    found = -dbn.variational_free_energy(v, draws=3000) - log_Z
    assert torch.allclose(found, expected, atol=0.25)


@torch.no_grad()
def test_one_hidden_layer_is_an_rbm():
    dbn = network(hidden=[3])
    assert torch.allclose(dbn.variational_free_energy(states(4)), dbn.top.free_energy(states(4)))


@torch.no_grad()
def test_labels_by_enumeration():
    dbn = network(outputs=3, labelled=True)
    x = states(4)
    below = dbn.up(x)
    for row, logits in zip(below, dbn(x), strict=True):
        exact = torch.stack([log_top(dbn, row, k) for k in range(3)])
        assert torch.allclose(logits.softmax(0), exact.softmax(0))


def test_a_group_of_labels_is_drawn_by_its_softmax():
    torch.manual_seed(0)
    units, inputs = BinaryWithLabel(3), torch.tensor([0.5, -1.0, 2.0, 0.0, -1.0])
    drawn = units.draw(inputs.expand(50000, -1))
    assert (drawn[:, 2:].sum(1) == 1).all()
    assert torch.allclose(drawn.mean(0), units.mean(inputs), atol=0.01)
    every = torch.stack([torch.cat([a, b]) for a in states(2).float() for b in torch.eye(3)])
    assert torch.allclose(units.log_sum(inputs).sum(), (every @ inputs).logsumexp(0))


@torch.no_grad()
def test_annealed_importance_sampling_with_labels():
    dbn = network(visible=20, hidden=(15, 10), outputs=4, labelled=True)
    found = anneal(dbn.bipartite(), None, chains=100, steps=2000)
    assert found.log_Z == pytest.approx(float(dbn.log_partition()), abs=0.3)


@pytest.mark.parametrize("labels", [None, 2])
def test_directions_are_the_gradients_of_both_phases(labels, monkeypatch):
    dbn = network(hidden=(3, 3, 2), outputs=labels, labelled=labels is not None)
    x = states(4)[::2]
    y = torch.arange(8) % 2
    seen = {}
    gibbs = dbn.top.gibbs

    def recorded(v, steps):
        seen["v"], seen["dream"] = v, gibbs(v, steps)
        return seen["dream"]

    monkeypatch.setattr(dbn.top, "gibbs", recorded)
    monkeypatch.setattr("dlx.models.boltzmann.dbn.draw_bernoulli", lambda p: (p > 0.5).to(p.dtype))
    _, directions = dbn.wake_sleep(x, y, 2)
    assert sorted(directions) == sorted(dbn.wake_sleep_parameters())
    states_up = [x]
    for layer in dbn.layers:
        states_up.append((layer.encode(states_up[-1]) > 0.5).double().detach())
    cost = -sum(
        log_bernoulli(states_up[i], layer(states_up[i + 1]).sigmoid()).mean() for i, layer in enumerate(dbn.directed)
    )
    cost = cost + dbn.top.free_energy(seen["v"]).mean() - dbn.top.free_energy(seen["dream"]).mean()
    above = seen["dream"][:, :3]
    for i in (1, 0):
        below = (dbn.generate_below(i, above).detach() > 0.5).double()
        cost = cost - log_bernoulli(above, dbn.layers[i].encode(below)).mean()
        above = below
    named = {name: p for name, p in dbn.named_parameters() if name in directions}
    for name, gradient in zip(named, torch.autograd.grad(cost, list(named.values())), strict=True):
        assert torch.allclose(directions[name], gradient, atol=1e-7), name


@torch.no_grad()
def test_samples_of_a_class():
    """A top RBM that ties the label to one unit below draws that unit when the label is held."""
    dbn = DBN([2], [2, 4], outputs=2, labelled=True, samples_after=30)
    dbn.layers[0].W.copy_(torch.tensor([[8.0, 0], [0, 8]]))
    dbn.layers[0].b.fill_(-4)
    dbn.top.W.copy_(torch.tensor([[8.0, 0, 0, 0], [0, 8, 0, 0], [8, -8, 0, 0], [-8, 8, 0, 0]]))
    dbn.top.b.copy_(torch.tensor([-4.0, -4, 0, 0]))
    dbn.top.c.copy_(torch.tensor([-8.0, -8, 0, 0]))
    torch.manual_seed(0)
    found = dbn.sample(200, torch.arange(200) % 2)
    assert dbn.conditional
    assert found[::2].mean(0)[0] > 0.7 > 0.3 > found[::2].mean(0)[1]
    assert found[1::2].mean(0)[1] > 0.7 > 0.3 > found[1::2].mean(0)[0]
    assert found.shape == (200, 2)
