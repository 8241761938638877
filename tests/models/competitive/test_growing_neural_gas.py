"""Growing neural gas against the paper's steps on lists, and what must always hold of its graph."""

import math

import pytest
import torch

from dlx.errors import UsageError
from dlx.models.competitive.growing_neural_gas import GrowingNeuralGas


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ring(n, noise=0.02, seed=0):
    angle = 2 * math.pi * torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1) + noise * random(n, 2, seed=seed + 1)


def gas(x, **options):
    model = GrowingNeuralGas(x.shape[1:], **options).to(x.dtype)
    model.prepare(x)
    return model


class OnLists:
    """Fritzke's algorithm, step by step: units by number, edges {frozenset: age}."""

    def __init__(self, w, every, near, far, oldest, alpha, decay):
        self.w, self.error, self.edges = dict(enumerate(w)), {0: 0.0, 1: 0.0}, {}
        self.every, self.near, self.far, self.oldest = every, near, far, oldest
        self.alpha, self.decay, self.signals, self.lost = alpha, decay, 0, 0

    def neighbours(self, i):
        return [next(iter(edge - {i})) for edge in self.edges if i in edge]

    def signal(self, x):
        squared = {i: float((x - w).square().sum()) for i, w in self.w.items()}
        first, second = sorted(squared, key=squared.get)[:2]
        for edge in self.edges:
            if first in edge:
                self.edges[edge] += 1
        self.error[first] += squared[first]
        self.w[first] = self.w[first] + self.near * (x - self.w[first])
        for i in self.neighbours(first):
            self.w[i] = self.w[i] + self.far * (x - self.w[i])
        self.edges[frozenset((first, second))] = 0
        self.edges = {edge: age for edge, age in self.edges.items() if age <= self.oldest}
        for i in [i for i in self.w if not self.neighbours(i)]:
            del self.w[i], self.error[i]
            self.lost += 1
        self.signals += 1
        if self.signals % self.every == 0:
            q = max(self.error, key=self.error.get)
            f = max(self.neighbours(q), key=self.error.get)
            r = next(i for i in range(1000) if i not in self.w)
            self.w[r] = (self.w[q] + self.w[f]) / 2
            del self.edges[frozenset((q, f))]
            self.edges[frozenset((q, r))] = self.edges[frozenset((r, f))] = 0
            self.error[q] *= self.alpha
            self.error[f] *= self.alpha
            self.error[r] = self.error[q]
        for i in self.error:
            self.error[i] *= self.decay


def test_it_is_the_paper_step_by_step():
    x = random(1500, 2) ** 5  # far outliers: units that stood for them are left behind, and vanish
    model = gas(x[:50], capacity=64, insert_every=30, lifetime=3)
    hand = OnLists(list(model.prototypes[:2].clone()), 30, 0.2, 0.006, 3, 0.5, 0.995)
    for seen in range(0, 1500, 100):
        model.online(x[seen : seen + 100], seen, 0)
        for example in x[seen : seen + 100]:
            hand.signal(example)
        there = model.active.nonzero().flatten().tolist()
        assert there == sorted(hand.w)
        assert torch.allclose(model.prototypes[there], torch.stack([hand.w[i] for i in there]), atol=1e-9)
        assert torch.allclose(model.error[there], torch.tensor([hand.error[i] for i in there]).double(), atol=1e-9)
        edges = {frozenset(pair) for pair in model.ages.isfinite().nonzero().tolist()}
        assert edges == set(hand.edges)
        assert all(model.ages[tuple(edge)] == age for edge, age in hand.edges.items())
    assert hand.lost > 0
    assert len(hand.w) > 20


def test_it_learns_that_a_ring_is_one():
    x = ring(12000)
    model = gas(x, capacity=30)
    model.online(x, 0, 0)
    assert model.active.sum() == 30
    edges = model.edges
    assert (edges.sum(1) == 2).all()
    reached = torch.zeros(30, dtype=torch.bool)
    reached[0] = True
    for _ in range(30):
        reached = reached | edges[reached].any(0)
    assert reached.all(), "one cycle rather than several"
    assert model.measures(ring(500, seed=9))["topographic_error"].mean() < 0.02


def test_what_always_holds():
    x = random(3000, 3)
    model = gas(x, capacity=25, insert_every=20, lifetime=8)
    for seen in range(0, 3000, 250):
        model.online(x[seen : seen + 250], seen, 0)
        joined = model.ages.isfinite()
        assert torch.equal(joined, joined.T)
        assert torch.equal(model.ages, model.ages.T)
        assert not joined.diagonal().any()
        assert torch.equal(joined.any(1), model.active), "no unit without an edge, no edge without its units"
        assert model.ages[joined].max() <= 8
        assert (model.error >= 0).all()
        assert (model.error[~model.active] == 0).all()
        assert 2 <= model.active.sum() <= 25
        assert model.prototypes.isfinite().all()


def test_errors_fade():
    x = random(1, 2).expand(400, 2)
    model = gas(random(10, 2), insert_every=10**6, rate=0.0, neighbour_rate=0.0)
    squared = float((model.prototypes[:2] - x[0]).square().sum(1).min())
    model.online(x, 0, 0)
    assert float(model.error.max()) == pytest.approx(squared * sum(0.995**t for t in range(1, 401)), rel=1e-9)


def test_it_stands_for_its_active_units_only():
    x = ring(600)
    model = gas(x, capacity=40, insert_every=50)
    assert model.centres.shape == (2, 2)
    model.online(x, 0, 0)
    units = int(model.active.sum())
    assert 2 < units < 40
    assert model.edges.shape == (units, units)
    assert model.encode(x).shape == (600, units)
    assert int(model(x).max()) < units
    afresh = GrowingNeuralGas([2], capacity=40).double()
    afresh.load_state_dict(model.state_dict())
    assert torch.equal(afresh(x), model(x))
    told = model.measures(x)
    assert told["units"] == units
    assert told["edges"] == int(model.ages.isfinite().sum()) / 2


def test_it_says_what_does_not_fit(train):
    with pytest.raises(UsageError, match=r"capacity=1.*at least 2"):
        GrowingNeuralGas([2], capacity=1)
    with pytest.raises(UsageError, match=r"update=batch was given for the model GrowingNeuralGas.*update=online"):
        train("run", "model=growing_neural_gas", "procedure.update=batch")
