"""The charts' numbers are scikit-learn's own, computed beside dlx from the same examples."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.linear_model import lasso_path

import dlx as api
from dlx.charts.chart import load_chart
from dlx.charts.clusters import run_lloyd
from dlx.charts.coefficients import compute_path
from dlx.charts.curves import rank
from dlx.charts.importances import find_impurity, permute
from dlx.charts.staged import iterate_errors
from dlx.charts.study import Study
from dlx.charts.trees import to_data_units
from dlx.errors import UsageError
from tests.verbs import dlx, trained

RUNS = {
    "tree": ("model=decision_tree", "dataset=iris", "model.scale=minmax"),
    "tree_regressor": ("model=decision_tree_regressor",),
    "forest": ("model=random_forest", "dataset=iris", "model.estimator.n_estimators=7"),
    "forest_regressor": ("model=random_forest_regressor", "model.estimator.n_estimators=5"),
    "boosting": ("model=boosting", "dataset=iris", "model.estimator.n_estimators=6"),
    "bagging": ("model=bagging", "dataset=iris", "model.estimator.n_estimators=4"),
    "ridge": ("model=ridge",),
    "lasso": ("model=lasso", "model.estimator.alpha=0.05"),
    "elastic_net": ("model=elastic_net",),
    "logistic": ("model=logistic", "dataset=breast_cancer"),
    "svm": ("model=svm", "dataset=wine"),
    "kmeans": ("model=kmeans", "dataset=blobs", "model.estimator.n_clusters=3"),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            run = trained(tmp_path_factory.mktemp("runs") / name, *RUNS[name], "logger=[]")
            parts = api.load(run.directory).parts
            made[name] = Study(parts.model, parts.dataset, "test", parts.trainer.device, name)
        return made[name]

    return get


@pytest.mark.parametrize("name", ["tree", "tree_regressor"])
def test_a_tree_in_the_units_of_the_data_answers_raw_examples(study, name):
    one = study(name)
    tree, examples = to_data_units(one.estimator, one), one.take()
    raw = examples.raw.flatten(1).numpy()
    if name == "tree":
        assert (tree.predict(raw) == one.answer(examples.x).argmax(1).numpy()).mean() > 0.95
    else:
        same = np.isclose(tree.predict(raw), one.predictions(examples.x)[:, 0], rtol=1e-3)
        assert same.mean() > 0.95  # an example at a threshold may fall on its other side, in float32


def test_rules_name_features_and_classes(study):
    drawing = load_chart("tree").draw(study("tree"), "tree")
    rules = drawing.texts["tree_rules"]
    assert "petal" in rules
    assert "class: virginica" in rules
    assert "petal width <= 0.8" in rules or "petal length <= 2.4" in rules  # centimetres, as Fisher measured


@pytest.mark.parametrize("name", ["forest", "forest_regressor", "boosting", "bagging"])
def test_the_last_staged_error_is_the_ensembles(study, name):
    one = study(name)
    examples = one.take()
    errors = list(iterate_errors(one, one.estimator_rows(examples.x), examples.y.numpy()))
    assert len(errors) == len(one.estimator.estimators_)
    if one.dataset.classes:
        wrong = float((one.answer(examples.x).argmax(1) != examples.y).double().mean())
        assert errors[-1] == pytest.approx(wrong)
    else:
        error = metrics.root_mean_squared_error(examples.y.numpy(), one.predictions(examples.x).numpy())
        assert errors[-1] == pytest.approx(error)


def test_importances(study):
    one = study("forest")
    assert np.allclose(find_impurity(one.estimator, 4), one.estimator.feature_importances_)
    from sklearn.inspection import permutation_importance

    examples = one.take()
    truth = permutation_importance(one.model.pipeline, one.estimator_rows(examples.x), examples.y.numpy(),
                                   n_repeats=5, random_state=0)  # fmt: skip
    mean, _, used = permute(one, examples)
    assert used == len(examples.x)
    assert np.allclose(mean, truth.importances_mean, atol=0.02)
    assert mean.max() > 0.05
    bagged = study("bagging")
    assert find_impurity(bagged.estimator, 4).sum() == pytest.approx(1)
    drawing = load_chart("importances").draw(one, "importances")
    assert {row["feature"] for row in drawing.tables["importances"]} == set(one.dataset.columns)


@pytest.mark.parametrize("name", ["ridge", "lasso", "elastic_net"])
def test_a_path_goes_through_the_runs_own_coefficients(study, name):
    one = study(name)
    train = one.take("train", 10**9)
    x, y = one.estimator_rows(train.x), one.estimator_targets(train)
    alphas, path = compute_path(one.estimator, x, y)
    assert alphas[0] > one.estimator.alpha > alphas[-1]
    at = [np.interp(np.log(one.estimator.alpha), np.log(alphas[::-1]), path[::-1, i]) for i in range(path.shape[1])]
    assert np.allclose(at, np.ravel(one.estimator.coef_), atol=0.02)
    if name == "lasso":
        assert np.allclose(path[0], 0)
        _, truth, _ = lasso_path(x - x.mean(0), y - y.mean(), alphas=alphas)
        assert np.allclose(path, truth.T, atol=2e-3)


def test_coefficients_predict_in_the_units_of_the_data(study):
    one = study("ridge")
    rows = load_chart("coefficients").draw(one, "coefficients").tables["coefficients"]
    raw, names = one.take().raw.double().numpy(), one.feature_names
    slope = np.array([next(row["per unit of the data"] for row in rows if row["feature"] == name) for name in names])
    predicted = one.predictions(one.take().x)[:, 0].numpy()
    rest = predicted - raw @ slope
    assert np.allclose(rest, rest.mean(), atol=1e-2)
    assert predicted.std() > 10


def test_curves(study):
    one = study("logistic")
    scores, labels = rank(one)
    truth = one.model.pipeline.predict_proba(one.take().x.double().numpy())
    assert np.allclose(scores, truth, atol=1e-6)
    assert metrics.roc_auc_score(labels, scores[:, 1]) > 0.95
    svm = study("svm")
    scores, labels = rank(svm)
    decided = svm.model.pipeline.decision_function(svm.take().x.double().numpy())
    assert np.allclose(scores, decided, atol=1e-6)
    with pytest.raises(UsageError, match="calibration needs probabilities"):
        load_chart("calibration").check(svm)


def test_report_is_scikit_learns(study):
    one = study("logistic")
    rows = load_chart("report").draw(one, "report").tables["report"]
    predicted = one.answer(one.take().x).argmax(1).numpy()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(one.take().y.numpy(), predicted)
    for k, row in enumerate(rows[:2]):
        assert row["class"] == one.class_names[k]
        values = [row["precision"], row["recall"], row["f1"], row["examples"]]
        assert values == pytest.approx([precision[k], recall[k], f1[k], support[k]])


def test_lloyd_goes_down_to_what_k_means_finds(study):
    one = study("kmeans")
    rows = one.estimator_rows(one.take("train").x)
    ways = run_lloyd(rows, 3, 0)
    inertia = [np.square(rows[:, None] - way[None]).sum(2).min(1).sum() for way in ways]
    assert (np.diff(inertia) <= 1e-9).all()
    step = np.array([rows[np.square(rows[:, None] - ways[0][None]).sum(2).argmin(1) == k].mean(0) for k in range(3)])
    assert np.allclose(ways[1], step)


def test_a_line_over_one_feature(train):
    x = np.linspace(-1, 1, 60)
    Path("line.csv").write_text("hours,points\n" + "\n".join(f"{a},{3 * a + 10 + 0.1 * (i % 3)}" for i, a in
                                                          enumerate(x)))  # fmt: skip
    run = train("line", "model=linear", "dataset=csv", "dataset.path=line.csv", "task=regression", "logger=[]")
    dlx("visualize", run.directory, "--method", "fit,predictions,coefficients", "-o", "there")
    assert {path.name for path in Path("there").iterdir()} == {
        "visuals_fit.png", "visuals_predictions.png", "visuals_coefficients.png", "visuals_coefficients.csv",
    }  # fmt: skip
    with Path("there/visuals_coefficients.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["feature"] == "hours"
    assert float(row["per unit of the data"]) == pytest.approx(3, abs=0.02)


def test_multi_class_regions_have_the_share_of_the_model(study):
    picture = load_chart("regions").draw(study("svm"), "regions").pictures["regions"]
    assert torch.isfinite(picture).all()
