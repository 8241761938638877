"""Neural gas against its equations written out, against k-means, and against the energy that it descends."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from dlx.errors import UsageError
from dlx.models.competitive.neural_gas import NeuralGas
from dlx.models.competitive.prototypes import ranks
from tests.conftest import iris, same

STILL = {"rate_start": 0.1, "rate_end": 0.1}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gas(x, units=6, **options):
    model = NeuralGas(x.shape[1:], units, **options).to(x.dtype)
    model.prepare(x)
    return model


def by_hand(w, x, total, start, end, rate, lifetime, seen=0):
    """The paper's algorithm on lists: prototypes and the ages of edges, {(i, j): age} with i < j."""
    w, ages = w.copy(), {}
    for t, example in enumerate(x, seen):
        part = t / total
        reach, step, life = (a * (b / a) ** part for a, b in ((start, end), rate, lifetime))
        order = sorted(range(len(w)), key=lambda i, x=example: float(((x - w[i]) ** 2).sum()))
        for k, i in enumerate(order):
            w[i] = w[i] + step * math.exp(-k / reach) * (example - w[i])
        ages[tuple(sorted(order[:2]))] = 0
        for edge in [edge for edge in ages if order[0] in edge]:
            ages[edge] += 1
            if ages[edge] > life:
                del ages[edge]
    return w, ages


def test_online_steps_are_the_equations():
    x = random(300, 3)
    model = gas(x, range_start=3.0, range_end=0.05, lifetime_start=5, lifetime_end=15)
    begun = model.prototypes.numpy().copy()
    for seen in (0, 100, 200):
        model.online(x[seen : seen + 100], seen, 400)
    w, ages = by_hand(begun, x.numpy(), 400, 3.0, 0.05, (0.5, 0.005), (5, 15))
    assert np.allclose(model.prototypes, w, atol=1e-12)
    assert 0 < len(ages) < 15  # some were lost
    expected = torch.full((6, 6), torch.inf)
    for (i, j), age in ages.items():
        expected[i, j] = expected[j, i] = age
    assert torch.equal(model.ages, expected)


def test_ranks_count_who_is_nearer():
    d = random(20, 9).abs()
    counted = (d[:, None, :] < d[:, :, None]).sum(2)
    assert torch.equal(ranks(d), counted)
    model = gas(random(30, 2))
    x = random(5, 2, seed=1)
    assert torch.equal(model.ranks(x).argmin(1), model(x))


def test_neighbourhood_is_the_kernel_of_ranks():
    model = gas(random(30, 2))
    d = torch.tensor([[3.0, 1.0, 2.0, 9.0, 8.0, 7.0]])
    h = model.neighbourhood(d, torch.tensor([[2.0]]))
    assert torch.allclose(h, torch.exp(-torch.tensor([[2.0, 0, 1, 5, 4, 3]]) / 2))


def test_without_a_neighbourhood_it_is_online_k_means():
    x = random(200, 4)
    model = gas(x, range_start=1e-3, range_end=1e-3, **STILL)
    w = model.prototypes.clone()
    for example in x:
        nearest = (w - example).square().sum(1).argmin()
        w[nearest] += 0.1 * (example - w[nearest])
    model.online(x, 0, 200)
    assert torch.allclose(model.prototypes, w, atol=1e-12)


def test_batch_without_a_neighbourhood_is_lloyds_algorithm():
    x = random(150, 3)
    model = gas(x, 5, range_start=1e-3, range_end=1e-3, seed=3)
    lloyd = KMeans(5, init=model.prototypes.numpy().copy(), n_init=1, max_iter=6, tol=0, algorithm="lloyd")
    for _ in range(6):
        told = model.replace(model.gather({}, x, 0, 150))
    lloyd.fit(x.numpy())
    assert np.allclose(model.prototypes, lloyd.cluster_centers_, atol=1e-9)
    assert told["squared_distance"] > 0


@pytest.mark.parametrize("reach", [0.1, 1.0, 4.0])
def test_batch_never_raises_the_energy(reach):
    x, _ = iris()
    model = gas(x, 10, range_start=reach, range_end=reach)
    energies = [float(model.energy(x, reach))]
    for _ in range(25):
        sums = {}
        for part in x.split(40):
            sums = model.gather(sums, part, 0, 150)
        model.replace(sums)
        energies.append(float(model.energy(x, reach)))
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(energies))
    assert energies[-1] < 0.9 * energies[0]


def test_energy_is_its_definition():
    x = random(7, 3)
    model = gas(random(30, 3), 4)
    total = 0.0
    for example in x:
        d = sorted(float((example - w).square().sum()) for w in model.prototypes)
        total += sum(math.exp(-k / 1.5) * value for k, value in enumerate(d))
    expected = total / (2 * sum(math.exp(-k / 1.5) for k in range(4)))
    assert float(model.energy(x, 1.5)) == pytest.approx(expected, rel=1e-9)


def test_minibatch_of_one_is_online():
    x = random(50, 3)
    one, other = gas(x), gas(x)
    one.online(x, 0, 60)
    for t, example in enumerate(x):
        other.minibatch(example[None], t, 60)
    assert torch.allclose(one.prototypes, other.prototypes, atol=1e-10)
    assert same(one.ages, other.ages)


def test_minibatch_goes_as_far_as_one_by_one_towards_equal_examples():
    x = random(30, 3)
    one, other = gas(x, **STILL, range_start=1e-3, range_end=1e-3), gas(x, **STILL, range_start=1e-3, range_end=1e-3)
    again = x[:1].expand(12, 3)
    one.online(again, 0, 12)
    other.minibatch(again, 0, 12)
    assert torch.allclose(one.prototypes, other.prototypes, atol=1e-10)


def test_it_gives_back_the_nearest_prototype():
    x = random(40, 1, 2, 3)
    model = gas(x)
    assert model.centres.shape == (6, 1, 2, 3)
    nearest = (x[:, None] - model.centres[None]).flatten(2).square().sum(2)
    assert torch.equal(model(x), nearest.argmin(1))
    assert torch.allclose(model.encode(x).square(), nearest, atol=1e-9)
    assert torch.equal(model.reconstruct(x), model.centres[nearest.argmin(1)])
    assert torch.allclose(model.measures(x)["quantisation_error"].square(), nearest.amin(1), atol=1e-9)


def test_it_says_what_does_not_fit():
    with pytest.raises(UsageError, match=r"6 units were given for 5 training examples.*model\.units"):
        gas(random(5, 2))
    with pytest.raises(UsageError, match="range_end"):
        NeuralGas([2], 4, range_start=1.0, range_end=2.0)
    with pytest.raises(UsageError, match="rate_start=2"):
        NeuralGas([2], 4, rate_start=2.0)


def test_iris_is_quantised_better_than_by_k_means_from_random_starts(train):
    x, _ = iris()
    starts = [KMeans(10, init="random", n_init=1, random_state=seed).fit(x.numpy()).inertia_ for seed in range(20)]
    found = [
        train(f"{s}", "experiment=iris_neural_gas", f"seed={s}").read()["metrics"]["train/inertia"] for s in (0, 1)
    ]
    assert all(25.5 < value < 26.6 for value in found)
    assert max(found) < np.mean(starts) - 2


def test_pictures(train):
    run = train("run", "model=neural_gas", "dataset.limit=300", "trainer.epochs=2")
    names = {path.stem for path in (run.directory / "figures").glob("*.png")}
    assert {"graph", "prototypes", "centres", "clusters"} <= names
