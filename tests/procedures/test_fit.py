"""Fundamental learners: each equals scikit-learn fitted by hand, to the bit, through the loop and a checkpoint."""

import io

import numpy as np
import pytest
import sklearn.base
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
from sklearn.metrics import (
    log_loss,
    r2_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.estimator.estimator import Classifier, Clusterer, Regressor
from dlx.models.estimator.serialization import dumps
from dlx.models.mlp import MLP
from dlx.parts import assemble
from dlx.procedures.fit import Fit
from dlx.tasks.classification import Classification
from dlx.training.checkpoint import load
from tests.conftest import MODELS, ROOT, iris, same

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
    registered = {
        name for name in MODELS if "dlx.models.estimator.estimator." in (ROOT / f"conf/model/{name}.yaml").read_text()
    }
    assert registered == set(HAND)


@pytest.mark.parametrize("name", HAND)
def test_equals_scikit_learn(name, train):
    limit = 100 if name in SLOW else 200
    run = train("run", f"model={name}", f"dataset.limit={limit}", "trainer.batch=64", "logger=[]")
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


@pytest.mark.parametrize(("data", "index"), [("iris", 0.7302), ("wine", 0.8975)])
def test_published_clusterings(data, index, train):
    metrics = train("run", f"experiment={data}_kmeans").read()["metrics"]
    assert metrics["train/adjusted_rand_index"] == pytest.approx(index, abs=5e-5)
    if data == "iris":
        assert metrics["train/inertia"] == pytest.approx(78.85, abs=5e-3)
