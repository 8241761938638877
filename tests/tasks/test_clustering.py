"""Clusterings and reconstructions measured against scikit-learn and numpy."""

import numpy as np
import pytest
import torch
from sklearn import (
    cluster,
    decomposition,
)
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from threadpoolctl import threadpool_limits
from torch import nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.estimator.estimator import Clusterer, Projector
from dlx.models.mlp import MLP
from dlx.tasks.clustering import Clustering, project_to_plane
from dlx.tasks.reconstruction import Reconstruction
from dlx.training.evaluate import evaluate
from tests.conftest import iris


@pytest.mark.parametrize("size", [150, 60])
def test_clustering_against_scikit_learn(size):
    x, y = iris()
    with threadpool_limits(1):  # as tests.conftest gives dlx: sums depend on it in the last digit
        hand = cluster.KMeans(3, n_init=3, random_state=0).fit(x.numpy())
    model = Clusterer(cluster.KMeans(3, n_init=3, random_state=0), [4])
    told = model.fit(x)
    assert told["inertia"] == hand.inertia_
    batches = [Batch(a, b) for a, b in zip(x.split(size), y.split(size), strict=True)]
    got = evaluate(model, Clustering(), batches)
    assert got["inertia"] == pytest.approx(hand.inertia_, rel=1e-12)
    assert got["squared_distance"] == pytest.approx(hand.inertia_ / 150, rel=1e-12)
    assert got["clusters"] == 3
    assert got["adjusted_rand_index"] == adjusted_rand_score(y, hand.labels_)
    assert got["normalised_mutual_information"] == normalized_mutual_info_score(y, hand.labels_)
    assert got["silhouette"] == pytest.approx(silhouette_score(x.numpy(), hand.labels_), rel=1e-12)


class Halves(nn.Module):
    """Clusters without centres of its own; cluster 1 is never used."""

    def forward(self, x):
        return 2 * (x[:, 0] > 0).long()


def test_clusters_of_any_model_and_without_labels():
    x = torch.tensor([[-1.0], [-3.0], [2.0], [4.0], [6.0]])
    got = evaluate(Halves(), Clustering(), [Batch(x)])
    assert got["inertia"] == 2 * 1 + 4 + 0 + 4
    assert got["clusters"] == 2
    assert "adjusted_rand_index" not in got
    assert "silhouette" not in evaluate(Halves(), Clustering(), [Batch(x.abs())])
    assert "adjusted_rand_index" not in evaluate(Halves(), Clustering(), [Batch(x, x)])


def test_pictures_of_clusters():
    x, y = iris()
    model = Clusterer(cluster.KMeans(3, n_init=1, random_state=0), [4])
    model.fit(x)
    assert set(Clustering().pictures(model, [Batch(x, y)])) == {"clusters", "labels"}
    task, images = Clustering(), x.view(-1, 1, 2, 2)
    task.shape = (1, 2, 2)
    model = Clusterer(cluster.KMeans(3, n_init=1, random_state=0), [1, 2, 2])
    model.fit(images)
    assert model.centres.shape == (3, 1, 2, 2)
    assert set(task.pictures(model, [Batch(images)])) == {"clusters", "centres"}


def test_the_plane_is_that_of_pca():
    x, _ = iris()
    hand = decomposition.PCA(2).fit_transform(x.numpy())
    assert np.allclose(project_to_plane(x).abs(), np.abs(hand))
    assert torch.equal(project_to_plane(x[:, :2]), x[:, :2])
    assert project_to_plane(x[:, :1]).shape == (150, 2)


# -- reconstruction ----------------------------------------------------------------------------------------------------


def test_reconstruction_against_numpy():
    x, _ = iris()
    model = Projector(decomposition.PCA(2), [4])
    told = model.fit(x)
    hand = decomposition.PCA(2).fit(x.numpy())
    again = hand.inverse_transform(hand.transform(x.numpy()))
    assert np.array_equal(model(x), again)
    assert np.array_equal(model.encode(x), hand.transform(x.numpy()))
    assert told["components"] == 2
    got = evaluate(model, Reconstruction(), [Batch(x[:100]), Batch(x[100:])])
    assert got["squared_error"] == pytest.approx(((x.numpy() - again) ** 2).sum(1).mean(), rel=1e-12)
    assert got["mse"] == pytest.approx(got["squared_error"] / 4, rel=1e-12)
    assert got["explained_variance"] == pytest.approx(hand.explained_variance_ratio_.sum(), rel=1e-10)
    assert got["explained_variance"] == pytest.approx(told["explained_variance"], rel=1e-10)
    assert set(Reconstruction().predictions(model, x)) == {"reconstruction", "code"}


class Shrinks(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))

    def reconstruct(self, x):
        return self.w * x


def test_reconstruction_by_gradients():
    x = torch.rand(8, 1, 2, 2)
    model = Shrinks()
    assert Reconstruction().loss(model, Batch(x)).item() == pytest.approx(float((x / 2).square().mean()))
    entropy = Reconstruction("cross_entropy")
    expected = nn.functional.binary_cross_entropy(x / 2, x, reduction="sum") / 8
    assert entropy.loss(model, Batch(x)).item() == pytest.approx(expected.item(), rel=1e-6)
    assert evaluate(model, entropy, [Batch(x)])["loss"] == pytest.approx(expected.item(), rel=1e-6)
    entropy.loss(model, Batch(x)).backward()
    assert model.w.grad.isfinite()
    task = Reconstruction(pictured=3)
    task.shape = (1, 2, 2)
    picture = task.pictures(model, [Batch(x)])["reconstructions"]
    assert picture.shape[2] > picture.shape[1]  # three beside each other, two rows


def test_a_model_that_does_not_reconstruct_is_named():
    with pytest.raises(UsageError, match=r"task=reconstruction was given the model MLP; needed: one with reconstruct"):
        evaluate(MLP([4], 3), Reconstruction(), [Batch(torch.zeros(2, 4))])
