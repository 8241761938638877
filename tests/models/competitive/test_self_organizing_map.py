"""The self-organising map against its equations written out, and against lattices counted by hand."""

import math

import pytest
import torch

from dlx.models.competitive.lattice import adjacency, unit_positions
from dlx.models.competitive.self_organizing_map import SelfOrganizingMap


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chart(x, **options):
    options = {"rows": 3, "columns": 4, "start": "examples", **options}
    model = SelfOrganizingMap(x.shape[1:], **options).to(x.dtype)
    model.prepare(x)
    return model


def apart(i, j, columns, hexagonal):
    """Squared distance of two units on the lattice, from rows and columns."""
    (r, c), (s, d) = divmod(i, columns), divmod(j, columns)
    if not hexagonal:
        return (r - s) ** 2 + (c - d) ** 2
    return ((c + 0.5 * (r % 2)) - (d + 0.5 * (s % 2))) ** 2 + 0.75 * (r - s) ** 2


@pytest.mark.parametrize("lattice", ["rectangular", "hexagonal"])
def test_online_steps_are_the_equations(lattice):
    x = random(60, 3)
    model = chart(x, lattice=lattice, range_start=2.0, range_end=0.3, rate_start=0.4, rate_end=0.02)
    w = model.prototypes.clone()
    for t, example in enumerate(x):
        sigma, rate = 2.0 * (0.3 / 2.0) ** (t / 100), 0.4 * (0.02 / 0.4) ** (t / 100)
        b = int((w - example).square().sum(1).argmin())
        for i in range(12):
            w[i] += rate * math.exp(-apart(i, b, 4, lattice == "hexagonal") / (2 * sigma**2)) * (example - w[i])
    model.online(x[:25], 0, 100)
    model.online(x[25:], 25, 100)
    assert torch.allclose(model.prototypes, w, atol=1e-6)  # the lattice is kept in float32


@pytest.mark.parametrize("lattice", ["rectangular", "hexagonal"])
def test_batch_step_is_the_closed_formula(lattice):
    x = random(60, 3)
    model = chart(x, lattice=lattice, range_start=2.0, range_end=0.5)
    sigma = 2.0 * (0.5 / 2.0) ** 0.25
    winners = model(x)
    w = torch.empty(12, 3, dtype=torch.float64)
    for i in range(12):
        h = [math.exp(-apart(i, int(b), 4, lattice == "hexagonal") / (2 * sigma**2)) for b in winners]
        w[i] = sum(a * example for a, example in zip(h, x, strict=True)) / sum(h)
    sums = {}
    for part in x.split(17):
        sums = model.gather(sums, part, 60, 240)
    told = model.replace(sums)
    assert torch.allclose(model.prototypes, w, atol=1e-6)
    assert float(told["range"]) == pytest.approx(sigma)


def test_a_minibatch_of_one_is_online():
    x = random(40, 3)
    one, other = chart(x), chart(x)
    one.online(x, 0, 50)
    for t, example in enumerate(x):
        other.minibatch(example[None], t, 50)
    assert torch.allclose(one.prototypes, other.prototypes, atol=1e-6)


@pytest.mark.parametrize("lattice", ["rectangular", "hexagonal"])
def test_neighbours_are_those_beside_a_unit(lattice):
    found = adjacency(unit_positions(4, 5, lattice))
    assert torch.equal(found, found.T)
    counted = torch.tensor([[0.9 < apart(i, j, 5, lattice == "hexagonal") < 1.1 for j in range(20)] for i in range(20)])
    assert torch.equal(found, counted)
    assert found.sum(1).max() == (4 if lattice == "rectangular" else 6)
    within = 1 * 5 + 2
    assert found[within].sum() == found.sum(1).max()


def test_errors_are_their_definitions():
    x = random(50, 3)
    model = chart(x)
    told = model.measures(x)
    for example, distance, error in zip(x, told["quantisation_error"], told["topographic_error"], strict=True):
        d = (model.prototypes - example).square().sum(1).sqrt()
        b, second = d.argsort()[:2].tolist()
        assert float(distance) == pytest.approx(float(d[b]), abs=1e-7)
        assert float(error) == (0.0 if 0.9 < apart(b, second, 4, True) < 1.1 else 1.0)
    assert 0 < told["topographic_error"].mean() < 1


def test_u_matrix_is_the_mean_distance_to_the_neighbours():
    model = chart(random(50, 3), lattice="rectangular")
    w = model.prototypes.view(3, 4, 3)
    corner = ((w[0, 0] - w[0, 1]).norm() + (w[0, 0] - w[1, 0]).norm()) / 2
    inner = sum((w[1, 1] - w[r, c]).norm() for r, c in ((0, 1), (2, 1), (1, 0), (1, 2))) / 4
    assert torch.allclose(model.u_matrix[0, 0], corner)
    assert torch.allclose(model.u_matrix[1, 1], inner)


def test_linear_start_is_the_plane_of_the_first_two_components():
    x = random(400, 5) @ torch.diag(torch.tensor([5.0, 3, 0.1, 0.1, 0.1]).double())
    model = chart(x, start="plane", lattice="rectangular")
    w = model.prototypes
    assert torch.allclose(w.mean(0), x.mean(0), atol=1e-6)
    assert torch.linalg.matrix_rank(w - w.mean(0), atol=1e-4) == 2
    assert torch.allclose(w.amax(0)[:2] - w.amin(0)[:2], 2 * x.std(0, correction=0)[:2], rtol=0.1)


@pytest.mark.parametrize("start", ["plane", "examples"])
@pytest.mark.parametrize("update", ["online", "minibatch", "batch"])
def test_a_map_of_a_square_unfolds(start, update):
    x = random(600, 2)
    model = chart(x, rows=6, columns=6, start=start, lattice="rectangular", seed=1)
    epochs, seen, total = 30, 0, 30 * 600
    for _ in range(epochs):
        sums = {}
        for part in x.split(60):
            if update == "batch":
                sums = model.gather(sums, part, seen, total)
            else:
                getattr(model, update)(part, seen, total)
                seen += len(part)
        if update == "batch":
            model.replace(sums)
            seen += 600
    told = model.measures(x)
    assert told["topographic_error"].mean() < 0.1
    assert told["quantisation_error"].mean() < 0.09  # .064 would be the best of 36 squares


@pytest.mark.parametrize(("dataset", "own"), [("digits", "lattice"), ("iris", "features")])
def test_pictures(train, dataset, own):
    run = train("run", "model=self_organizing_map", f"dataset={dataset}", "trainer.epochs=2", "model.rows=4")
    names = {path.stem for path in (run.directory / "figures").glob("*.png")}
    assert {"graph", "u_matrix", own} <= names
