"""What estimators say, save, warn of and refuse."""

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
    ensemble,
    linear_model,
    naive_bayes,
    neighbors,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import clear_data_home
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.preprocessing import FunctionTransformer

from dlx.batch import Batch
from dlx.config.compose import compose
from dlx.errors import TrainingError, UsageError
from dlx.models.estimator.estimator import Classifier, Clusterer, Estimator, Projector, Regressor
from dlx.models.estimator.serialization import dumps, loads
from dlx.parts import assemble
from dlx.tasks.classification import Classification
from dlx.training.evaluate import evaluate
from tests.conftest import iris


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
    assert not model.is_fitted
    assert torch.equal(model(x), torch.zeros(150, 3, dtype=torch.float64))
    assert evaluate(model, Classification(), [Batch(x, y)])["loss"] == pytest.approx(np.log(3))
    empty = {name: value.clone() for name, value in model.state_dict().items()}
    model.fit(x, y)
    full = model.state_dict()
    other = Classifier(naive_bayes.GaussianNB(), [4], 3)
    other.load_state_dict(full)
    assert torch.equal(other(x), model(x))
    other.load_state_dict(empty)
    assert not other.is_fitted
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
    with pytest.raises(
        UsageError, match=r"holds tests\.models\.estimator\.test_estimator\.Foreign; needed: classes of scikit-learn"
    ):
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


def test_compiling_does_nothing():
    model: Estimator = Classifier(naive_bayes.GaussianNB(), [4], 3)
    model.compile()
    assert model(torch.zeros(2, 4)).shape == (2, 3)
