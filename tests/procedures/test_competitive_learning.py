"""Competitive learning as a procedure: one schedule, whatever the batches, and however often it was interrupted."""

import json

import pytest
import torch

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.figures.networks import push_apart
from dlx.models.competitive.graph import count_components, edge_mask, make_empty_ages, update_edges
from dlx.models.competitive.growing_neural_gas import GrowingNeuralGas
from dlx.models.competitive.neural_gas import NeuralGas
from dlx.models.competitive.prototypes import principal_directions
from dlx.models.competitive.self_organizing_map import SelfOrganizingMap
from dlx.models.mlp import MLP
from dlx.procedures.competitive import Competitive
from dlx.tasks.clustering import Clustering
from dlx.tasks.reconstruction import Reconstruction
from dlx.training.checkpoint import load
from dlx.training.evaluate import evaluate
from tests.conftest import same

MODELS = {"gas": NeuralGas, "growing": GrowingNeuralGas, "map": SelfOrganizingMap}


def data(n=100):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(0))


def bound(model, x, update="online", epochs=3):
    model.prepare(x)
    procedure = Competitive(epochs * len(x), update)
    procedure.bind(model, Clustering())
    return procedure


def learn(procedure, x, size, epochs=3):
    for _ in range(epochs):
        for part in x.split(size):
            procedure.step(Batch(part))
        procedure.end_epoch()


@pytest.mark.parametrize("name", MODELS)
def test_online_learning_does_not_see_batches(name):
    x, found = data(), []
    for size in (1, 7, 100):
        model = MODELS[name]([3], **({"insert_every": 9} if name == "growing" else {}))
        learn(bound(model, x), x, size)
        found.append(model.state_dict())
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.parametrize("make", [NeuralGas, SelfOrganizingMap])
def test_learning_once_a_pass_does_not_see_batches(make):
    x, found = data(), []
    for size in (1, 7, 100):
        model = make([3])
        learn(bound(model, x, "batch"), x, size)
        found.append(model.prototypes)
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found[0], found[2], atol=1e-5)


def test_the_schedule_ends_with_the_training():
    x, model = data(), NeuralGas([3], 8)
    procedure = bound(model, x, epochs=2)
    told = procedure.step(Batch(x[:1]))
    assert float(told["rate"]) == 0.5
    assert float(told["range"]) == 4.0
    procedure.step(Batch(x[1:]))
    told = procedure.step(Batch(x[:1]))
    assert float(told["rate"]) == pytest.approx((0.5 * 0.005) ** 0.5)
    told = procedure.step(Batch(x[1:]))
    assert float(told["rate"]) == pytest.approx(0.5 * 0.01 ** (199 / 200))
    assert float(told["range"]) == pytest.approx(4.0 * (0.01 / 4) ** (199 / 200))


@pytest.mark.parametrize("update", ["online", "minibatch", "batch"])
def test_half_a_pass_is_taken_up_again(update):
    x = data()
    straight, first, second = NeuralGas([3], 8), NeuralGas([3], 8), NeuralGas([3], 8)
    learn(bound(straight, x, update), x, 10)
    before = bound(first, x, update)
    parts = [part for _ in range(3) for part in x.split(10)]
    for number, part in enumerate(parts[:13], 1):
        before.step(Batch(part))
        if number % 10 == 0:
            before.end_epoch()
    after = bound(second, x, update)
    second.load_state_dict(first.state_dict())
    after.load_state_dict(before.state_dict())
    for number, part in enumerate(parts[13:], 14):
        after.step(Batch(part))
        if number % 10 == 0:
            after.end_epoch()
    assert same(second.state_dict(), straight.state_dict())


def test_a_run_resumed_with_other_batches_is_the_same(train, resume):
    short = ("model=neural_gas", "dataset.limit=200", "trainer.epochs=4")
    straight = train("straight", *short, "trainer.batch=20")
    passed = -(-straight.read()["examples"]["train"] // 20)
    stopped = train("stopped", *short, "trainer.batch=20", stop=2 * passed)
    resume(stopped, trainer__batch=50)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert same(one["model"], two["model"])
    assert same(one["procedure"], two["procedure"])


def test_a_run_resumed_for_longer_goes_on_where_the_longer_schedule_stands(train, resume):
    run = train("run", "model=neural_gas", "dataset.limit=200", "trainer.epochs=2")
    examples = run.read()["examples"]["train"]
    resume(run, trainer__epochs=4)
    rates = []
    for line in (run.directory / "metrics.jsonl").read_text().splitlines():
        rates += [value for name, value in json.loads(line).items() if name == "train/rate"]
    assert rates[-1] == pytest.approx(0.5 * 0.01 ** ((4 * examples - 1) / (4 * examples)), rel=1e-6)


def test_every_model_reconstructs():
    x = data()
    for make in MODELS.values():
        model = make([3])
        learn(bound(model, x), x, 25)
        clustered, rebuilt = (evaluate(model, task, [Batch(x)]) for task in (Clustering(), Reconstruction()))
        assert rebuilt["squared_error"] == pytest.approx(clustered["squared_distance"], rel=1e-5)
        assert clustered["quantisation_error"] ** 2 <= clustered["squared_distance"]
        assert 0 < rebuilt["explained_variance"] < 1


@pytest.mark.parametrize(("n", "features"), [(200, 5), (6, 30), (3, 3), (1, 4)])
def test_the_plane_of_the_pictures_is_that_of_pca(n, features):
    x = torch.randn(n, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = principal_directions(x - x.mean(0))
    assert found.shape == (features, 2)
    known = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][: min(2, n - 1)].T
    for mine, theirs in zip(found.T, known.T, strict=False):
        assert float((mine @ theirs).abs()) == pytest.approx(1)
        assert mine[mine.abs().argmax()] > 0
    assert found.isfinite().all()


def test_components_are_what_no_edge_joins():
    ages = make_empty_ages(6)
    update_edges(ages, torch.tensor([[0, 1], [1, 2], [4, 5]]), torch.full((3,), 9.0))
    assert count_components(edge_mask(ages)) == 3  # 0-1-2, 3, 4-5
    update_edges(ages, torch.tensor([[2, 4]]), torch.full((1,), 9.0))
    assert count_components(edge_mask(ages)) == 2


def test_a_model_without_prototypes_is_refused():
    with pytest.raises(UsageError, match="Competitive was given the model MLP"):
        Competitive(10).bind(MLP([3], 2), Clustering())


def test_pictures_are_moved_apart():
    places = torch.cat([torch.zeros(3, 2), torch.rand(6, 2, generator=torch.Generator().manual_seed(0))])
    at = push_apart(places, 0.1)
    between = (at[:, None] - at[None]).abs().amax(2) + torch.eye(9)
    assert between.min() > 0.0999
    far = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert torch.allclose(push_apart(far, 0.1), far, atol=1e-5)
