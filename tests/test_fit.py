"""Fundamental learners: each equals scikit-learn fitted by hand, to the bit, through the loop and a checkpoint."""

import io
import logging
import re

import numpy as np
import pytest
import sklearn.base
import skops.io
import torch
from sklearn import (
    cluster,
    decomposition,
    discriminant_analysis,
    ensemble,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import clear_data_home, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.metrics import (
    adjusted_rand_score,
    log_loss,
    normalized_mutual_info_score,
    r2_score,
    silhouette_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from dlx.batch import Batch
from dlx.checkpoint import load
from dlx.config.compose import compose
from dlx.errors import TrainingError, UsageError
from dlx.evaluate import evaluate
from dlx.models.estimator import Classifier, Clusterer, Estimator, Projector, Regressor
from dlx.models.estimator_bytes import dumps, loads
from dlx.models.mlp import MLP
from dlx.procedures.fit import Fit
from dlx.run import assemble
from dlx.tasks.classification import Classification
from dlx.tasks.clustering import Clustering, plane
from dlx.tasks.reconstruction import Reconstruction
from tests.conftest import MODELS, ROOT, same

# Written by hand, with scikit-learn's own defaults wherever the YAML claims to have them.
HAND = {
    "classifier": lambda: discriminant_analysis.LinearDiscriminantAnalysis(),
    "regressor": lambda: linear_model.BayesianRidge(),
    "linear": lambda: linear_model.LinearRegression(),
    "ridge": lambda: linear_model.Ridge(random_state=0),
    "lasso": lambda: linear_model.Lasso(alpha=0.01, random_state=0),
    "elastic_net": lambda: linear_model.ElasticNet(alpha=0.01, random_state=0),
    "logistic": lambda: linear_model.LogisticRegression(max_iter=1000, random_state=0),
    "knn": lambda: neighbors.KNeighborsClassifier(),
    "knn_regressor": lambda: neighbors.KNeighborsRegressor(),
    "svm": lambda: svm.SVC(),
    "svr": lambda: svm.SVR(),
    "naive_bayes": lambda: naive_bayes.GaussianNB(),
    "decision_tree": lambda: tree.DecisionTreeClassifier(random_state=0),
    "decision_tree_regressor": lambda: tree.DecisionTreeRegressor(random_state=0),
    "random_forest": lambda: ensemble.RandomForestClassifier(random_state=0),
    "random_forest_regressor": lambda: ensemble.RandomForestRegressor(random_state=0),
    "bagging": lambda: ensemble.BaggingClassifier(n_estimators=100, random_state=0),
    "bagging_regressor": lambda: ensemble.BaggingRegressor(n_estimators=100, random_state=0),
    "boosting": lambda: ensemble.AdaBoostClassifier(n_estimators=100, random_state=0),
    "boosting_regressor": lambda: ensemble.AdaBoostRegressor(random_state=0),
    "gradient_boosting": lambda: ensemble.HistGradientBoostingClassifier(early_stopping=False, random_state=0),
    "stacking": lambda: ensemble.StackingClassifier(
        [
            ("svm", svm.SVC()),
            ("forest", ensemble.RandomForestClassifier(random_state=0)),
            ("knn", neighbors.KNeighborsClassifier()),
        ],
        linear_model.LogisticRegression(max_iter=1000),
        cv=5,
    ),
    "kmeans": lambda: cluster.KMeans(10, n_init=10, random_state=0),
    "mean_shift": lambda: cluster.MeanShift(),
    "pca": lambda: decomposition.PCA(0.9, random_state=0),
}
SLOW = ("bagging", "bagging_regressor", "boosting", "gradient_boosting", "random_forest_regressor", "stacking")
QUICK = ("decision_tree", "decision_tree_regressor", "knn_regressor", "pca", "ridge", "svm")


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums depend on how many threads share them: by hand as many as `tests.conftest` gives dlx."""
    with threadpool_limits(1):
        yield


def by_hand(dataset, split):
    """What scikit-learn would be given: rows in float64, and labels or flat targets."""
    part = dataset.splits[split]
    x = dataset.transform(part.x, False).flatten(1).double().numpy()
    y = part.y.double().numpy().ravel() if part.y.is_floating_point() else part.y.numpy()
    return x, y


def said(estimator, x):
    """What an estimator makes of x."""
    if hasattr(estimator, "predict"):
        return estimator.predict(x)
    return estimator.inverse_transform(estimator.transform(x))


def learned(estimator):
    """The numbers that a fit left behind."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and isinstance(value, np.ndarray | float | int) and np.asarray(value).dtype.kind != "O"
    }


def outcome(model, x):
    """What the model says of x (batch, *shape), as scikit-learn would say it."""
    with torch.no_grad():
        given = model(x)
    return (given.argmax(1) if isinstance(model, Classifier) else given).flatten(1 if given.ndim > 2 else 0).numpy()


def test_every_estimator_of_the_registry_is_compared():
    registered = {name for name in MODELS if "dlx.models.estimator." in (ROOT / f"conf/model/{name}.yaml").read_text()}
    assert registered == set(HAND)


@pytest.mark.parametrize("name", HAND)
def test_equals_scikit_learn(name, train):
    limit = 100 if name in SLOW else 200
    run = train(
        "run", f"model={name}", f"dataset.limit={limit}", "trainer.batch=64", "trainer.logger.tensorboard=false"
    )
    parts = assemble(_config(run))
    content = load(run.checkpoints / "last.pt")  # weights_only
    parts.model.load_state_dict(content["model"])
    x, y = by_hand(parts.dataset, "train")
    hand = HAND[name]().fit(x, y)
    mine = parts.model.estimator
    assert type(mine) is type(hand)
    assert learned(mine).keys() == learned(hand).keys()
    for key, value in learned(hand).items():
        assert np.array_equal(getattr(mine, key), value), key
    # Reading changes no bit, and a second fit gives the same bytes: checkpoints can be compared.
    assert same(parts.model.state_dict()["_extra_state"], content["model"]["_extra_state"])
    if name in QUICK:
        assert dumps(hand) == dumps(HAND[name]().fit(x, y))
    test, target = by_hand(parts.dataset, "test")
    raw = parts.dataset.transform(parts.dataset.splits["test"].x, False)
    assert np.array_equal(outcome(parts.model, raw), said(hand, test).reshape(outcome(parts.model, raw).shape))
    metrics = run.read()["metrics"]
    if isinstance(parts.model, Classifier):
        assert metrics["test/accuracy"] == pytest.approx(hand.score(test, target), rel=1e-12)
        assert ("test/loss" in metrics) == hasattr(hand, "predict_proba")
        if hasattr(hand, "predict_proba"):
            expected = log_loss(target, hand.predict_proba(test), labels=np.arange(10))
            assert metrics["test/loss"] == pytest.approx(expected, rel=1e-9)
    elif isinstance(parts.model, Regressor):
        assert metrics["test/r2"] == pytest.approx(r2_score(target, hand.predict(test)), rel=1e-5)


def _config(run):
    from omegaconf import OmegaConf

    return OmegaConf.load(run.directory / "config.yaml")


# -- the procedure -----------------------------------------------------------------------------------------------------


def iris():
    x, y = load_iris(return_X_y=True)
    return torch.from_numpy(x), torch.from_numpy(y)


def fitted(model, task=None, procedure=None, size=40):
    procedure = procedure or Fit()
    procedure.bind(model, task or Classification())
    x, y = iris()
    for a, b in zip(x.split(size), y.split(size), strict=True):
        assert procedure.step(Batch(a, b)) == {}
    procedure.end_epoch()
    assert procedure.done
    assert not procedure.x
    return model


@pytest.mark.parametrize(("scale", "scaler"), [("standard", StandardScaler), ("minmax", MinMaxScaler)])
def test_scaling_is_a_pipeline_of_scikit_learn(scale, scaler):
    x, y = iris()
    model = fitted(Classifier(svm.SVC(), [4], 3, scale=scale))
    hand = make_pipeline(scaler(), svm.SVC()).fit(x.numpy(), y.numpy())
    assert np.array_equal(outcome(model, x), hand.predict(x.numpy()))
    assert np.array_equal(model.estimator.dual_coef_, hand[-1].dual_coef_)
    centres = fitted(Clusterer(cluster.KMeans(3, n_init=1, random_state=0), [4], scale=scale)).centres
    kmeans = make_pipeline(scaler(), cluster.KMeans(3, n_init=1, random_state=0)).fit(x.numpy())
    assert np.allclose(centres, kmeans[0].inverse_transform(kmeans[-1].cluster_centers_))


def test_cut_off_within_the_pass_it_goes_on():
    x, y = iris()
    model = Classifier(tree.DecisionTreeClassifier(random_state=0), [4], 3)
    first, second = Fit(), Fit()
    first.bind(model, Classification())
    first.step(Batch(x[:70], y[:70]))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    second.bind(model, Classification())
    second.step(Batch(x[70:], y[70:]))
    second.end_epoch()
    hand = tree.DecisionTreeClassifier(random_state=0).fit(x.numpy(), y.numpy())
    assert dumps(model.estimator) == dumps(hand)


def test_a_model_that_does_not_fit_is_named():
    with pytest.raises(UsageError, match=r"Fit was given the model MLP; needed: a model with fit"):
        Fit().bind(MLP([4], 3), Classification())


class Counts(sklearn.base.ClassifierMixin, sklearn.base.BaseEstimator):
    """Notes the threads that numpy's and scikit-learn's libraries may take."""

    def fit(self, x, y):
        self.threads_ = max(library["num_threads"] for library in threadpool_info())
        return self

    def predict(self, x):
        return np.zeros(len(x), dtype=int)


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_as_torch(threads):
    torch.set_num_threads(threads)
    model = Classifier(Counts(), [4], 3)
    model.fit(*iris())
    assert model.estimator.threads_ == threads


# -- what a classifier says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        neighbors.KNeighborsClassifier(2),
        neighbors.KNeighborsClassifier(4, weights="distance"),
        tree.DecisionTreeClassifier(max_depth=1),
        ensemble.RandomForestClassifier(2, max_depth=1, random_state=0),
        svm.SVC(),
        linear_model.RidgeClassifier(),
        linear_model.Perceptron(),
        naive_bayes.GaussianNB(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_largest_score_is_the_prediction_also_in_ties(estimator):
    torch.manual_seed(0)
    x = torch.randint(0, 3, (400, 2)).double()  # nine places only: neighbours and leaves tie
    y = torch.randint(0, 4, (400,))
    model = Classifier(estimator, [2], 4)
    model.fit(x, y)
    assert np.array_equal(model(x).argmax(1), estimator.predict(x.numpy()))
    assert model.probabilistic == hasattr(estimator, "predict_proba")
    if model.probabilistic:
        assert np.allclose(model(x).exp(), estimator.predict_proba(x.numpy()))


class Contrary(sklearn.base.ClassifierMixin, sklearn.base.BaseEstimator):
    """Predicts the class that it calls least probable."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x):
        return np.tile(np.linspace(0.6, 0.4, 2), (len(x), 1))

    def predict(self, x):
        return np.full(len(x), self.classes_[1])


def test_the_prediction_counts_where_probabilities_say_another():
    model = Classifier(Contrary(), [1], 5)
    model.fit(torch.zeros(4, 1), torch.tensor([1, 3, 1, 3]))
    scores = model(torch.zeros(3, 1))
    assert scores.argmax(1).tolist() == [3, 3, 3]
    assert torch.allclose(scores[:, [1, 3]].exp(), torch.tensor([[0.6, 0.6]], dtype=torch.float64))
    # A class that was not there is as good as impossible, and the loss of an example of it is finite.
    assert (scores[:, [0, 2, 4]] < -30).all()
    assert scores.isfinite().all()


def test_unfitted_it_says_nothing_and_its_state_goes_round():
    x, y = iris()
    model = Classifier(naive_bayes.GaussianNB(), [4], 3)
    assert not model.fitted
    assert torch.equal(model(x), torch.zeros(150, 3, dtype=torch.float64))
    assert evaluate(model, Classification(), [Batch(x, y)])["loss"] == pytest.approx(np.log(3))
    empty = {name: value.clone() for name, value in model.state_dict().items()}
    model.fit(x, y)
    full = model.state_dict()
    other = Classifier(naive_bayes.GaussianNB(), [4], 3)
    other.load_state_dict(full)
    assert torch.equal(other(x), model(x))
    other.load_state_dict(empty)
    assert not other.fitted
    assert Regressor(linear_model.Ridge(), [4], 2)(x).shape == (150, 2)
    assert Clusterer(cluster.KMeans(), [4])(x).unique().tolist() == [0]
    assert Projector(decomposition.PCA(2), [4])(x).shape == x.shape


def test_several_targets():
    x, _ = iris()
    y = x @ torch.tensor([[1.0, 2], [0, 1], [1, 0], [3, 3]]).double()
    model = Regressor(linear_model.LinearRegression(), [4], 2)
    model.fit(x, y)
    assert torch.allclose(model(x), y)


# -- errors and warnings -----------------------------------------------------------------------------------------------


def test_warnings_are_told_and_stop_nothing(caplog):
    x, y = iris()
    model = Classifier(linear_model.LogisticRegression(max_iter=1), [4], 3)
    with pytest.warns(ConvergenceWarning):
        linear_model.LogisticRegression(max_iter=1).fit(x.numpy(), y.numpy())
    with caplog.at_level(logging.WARNING):
        assert model.fit(x, y) == {"iterations": 1.0}
    (record,) = caplog.records
    assert "LogisticRegression: lbfgs failed to converge" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classifier(linear_model.Ridge(), [4], 3), "given Ridge, a regressor; needed: a classifier"),
        (lambda: Regressor(svm.SVC(), [4], 1), "given SVC, a classifier; needed: a regressor"),
        (lambda: Clusterer(cluster.DBSCAN(), [4]), "given DBSCAN, without predict; needed"),
        (lambda: Projector(svm.SVC(), [4]), "without transform, inverse_transform; needed: a transformer"),
        (lambda: Classifier(svm.SVC(C=-1.0), [4], 3), "The 'C' parameter of SVC must be a float in the range"),
        (
            lambda: Classifier(ensemble.BaggingClassifier(tree.DecisionTreeClassifier(max_depth=0)), [4], 3),
            "The 'max_depth' parameter of DecisionTreeClassifier",
        ),
    ],
)
def test_what_does_not_suit_is_refused_before_anything_is_learned(make, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        make()


def test_data_that_do_not_suit_are_refused():
    x, y = iris()
    with pytest.raises(UsageError, match="is a classifier; needed: data with labels"):
        Classifier(svm.SVC(), [4], 3).fit(x, None)
    with pytest.raises(UsageError, match="is a classifier; needed: data with labels"):
        Classifier(svm.SVC(), [4], 3).fit(x, y.double())
    with pytest.raises(UsageError, match="needs targets"):
        Regressor(svm.SVR(), [4], 1).fit(x)
    model = Classifier(neighbors.KNeighborsClassifier(), [4], 3)
    model.fit(x[:3], y[:3])
    with pytest.raises(TrainingError, match=r"KNeighborsClassifier cannot go on: Expected n_neighbors"):
        model(x)
    with pytest.raises(TrainingError, match=r"PCA cannot go on: n_components=9"):
        Projector(decomposition.PCA(9), [4]).fit(x)


class Foreign:
    """Not an estimator, and not named by any configuration."""


def test_types_that_nobody_named_are_refused():
    model = Classifier(naive_bayes.GaussianNB(), [4], 3)
    for strange in (Foreign(), {"fine": 1, "not": Foreign()}, np.random.Generator.random):
        blob = torch.frombuffer(bytearray(skops.io.dumps(strange)), dtype=torch.uint8)
        with pytest.raises(UsageError, match=r"a saved estimator (holds|cannot be read)"):
            model.load_state_dict({"_extra_state": blob})
    nb = naive_bayes.GaussianNB().fit(*(part.numpy() for part in iris()))
    nb.helper_ = Foreign()
    blob = torch.frombuffer(bytearray(skops.io.dumps(nb)), dtype=torch.uint8)
    with pytest.raises(UsageError, match=r"holds tests\.test_fit\.Foreign; needed: classes of scikit-learn"):
        model.load_state_dict({"_extra_state": blob})
    deletes = FunctionTransformer(clear_data_home, kw_args={"data_home": "here"})
    with pytest.raises(UsageError, match=r"holds sklearn\.datasets\._base\.clear_data_home; needed"):
        loads(skops.io.dumps(deletes))


def test_another_estimator_or_broken_bytes_are_refused():
    x, y = iris()
    tree_model, nb = (Classifier(e, [4], 3) for e in (tree.DecisionTreeClassifier(), naive_bayes.GaussianNB()))
    nb.fit(x, y)
    with pytest.raises(UsageError, match="holds GaussianNB; needed: DecisionTreeClassifier"):
        tree_model.load_state_dict(nb.state_dict())
    cut = nb.get_extra_state()[:-100]
    with pytest.raises(UsageError, match="cannot be read"):
        nb.set_extra_state(cut)


def test_an_estimator_of_the_users_own_is_trusted_where_the_model_names_it():
    x, y = iris()
    model = Classifier(Contrary(), [4], 3)
    model.fit(x[:100], y[:100])
    with pytest.raises(UsageError, match="Contrary"):
        loads(dumps(model.pipeline))
    again = Classifier(Contrary(), [4], 3)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CalibratedClassifierCV(svm.SVC(), ensemble=False),
        lambda: GaussianProcessClassifier(),
        lambda: neighbors.KNeighborsClassifier(p=3),
    ],
)
def test_estimators_with_helpers_of_scikit_learn_are_saved(make):
    x, y = iris()
    model, again = Classifier(make(), [4], 3), Classifier(make(), [4], 3)
    model.fit(x, y)
    again.load_state_dict(model.state_dict())
    assert model.probabilistic
    assert torch.equal(again(x), model(x))


def test_any_estimator_by_name():
    given = ["model=classifier", "model.estimator._target_=sklearn.linear_model.SGDClassifier", "dataset=iris"]
    config = compose([*given, "model.estimator.loss=log_loss"])
    assert assemble(config).model.estimator.loss == "log_loss"
    with pytest.raises(UsageError, match="did you mean loss"):
        compose([*given, "model.estimator.losss=log_loss"])


# -- clustering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [150, 60])
def test_clustering_against_scikit_learn(size):
    x, y = iris()
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
    assert np.allclose(plane(x).abs(), np.abs(hand))
    assert torch.equal(plane(x[:, :2]), x[:, :2])
    assert plane(x[:, :1]).shape == (150, 2)


@pytest.mark.parametrize(("data", "index"), [("iris", 0.7302), ("wine", 0.8975)])
def test_published_clusterings(data, index, train):
    metrics = train("run", f"experiment={data}_kmeans").read()["metrics"]
    assert metrics["train/adjusted_rand_index"] == pytest.approx(index, abs=5e-5)
    if data == "iris":
        assert metrics["train/inertia"] == pytest.approx(78.85, abs=5e-3)


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


def test_compiling_does_nothing():
    model: Estimator = Classifier(naive_bayes.GaussianNB(), [4], 3)
    model.compile()
    assert model(torch.zeros(2, 4)).shape == (2, 3)
