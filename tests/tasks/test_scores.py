"""The metrics that are asked for first are scikit-learn's, on random inputs and through `dlx evaluate`."""

import csv
import json

import numpy as np
import pytest
from sklearn import metrics as sk

from dlx.tasks.scores import (
    Classified,
    measure_calibration,
    report_classification,
    report_regression,
    score_classification,
)


def made(classes, n=300, seed=0):
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, n)
    scores = random.standard_normal((n, classes)) + 1.5 * np.eye(classes)[y]
    p = np.exp(scores)
    return Classified(y, scores, p / p.sum(1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_classes_are_scikit_learns(classes, seed):
    found = made(classes, seed=seed)
    y, p, predicted = found.y, found.probabilities, found.predicted
    values = score_classification(found, tops=[3] if classes > 3 else [])
    assert values["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert values["macro_f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert values["log_loss"] == pytest.approx(sk.log_loss(y, p))
    if classes == 2:
        assert values["auroc"] == pytest.approx(sk.roc_auc_score(y, p[:, 1]))
        assert values["average_precision"] == pytest.approx(sk.average_precision_score(y, p[:, 1]))
        assert values["brier"] == pytest.approx(sk.brier_score_loss(y, p[:, 1]))
        assert not any(name.startswith("top") for name in values)
    else:
        assert values["auroc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
        one_hot = np.eye(classes)[y]
        assert values["average_precision"] == pytest.approx(sk.average_precision_score(one_hot, p))
        assert values["brier"] == pytest.approx(
            sum(sk.brier_score_loss(one_hot[:, c], p[:, c]) for c in range(classes))
        )
        k = min(5, classes - 1)
        assert values[f"top{k}_accuracy"] == pytest.approx(sk.top_k_accuracy_score(y, p, k=k))
    if classes > 3:
        assert values["top3_accuracy"] == pytest.approx(sk.top_k_accuracy_score(y, p, k=3))


def test_calibration_error_is_what_a_loop_over_bins_finds():
    found = made(4)
    confidence, correct = found.probabilities.max(1), found.predicted == found.y
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert measure_calibration(confidence, correct) == pytest.approx(expected)
    assert measure_calibration(np.ones(4), np.array([True] * 4)) == 0
    assert measure_calibration(np.full(4, 0.75), np.array([True, True, True, False])) == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_report_is_scikit_learns(classes):
    found = made(classes)
    names = [f"kind {label}" for label in range(classes)]
    report = report_classification(found, names)
    expected = sk.classification_report(found.y, found.predicted, target_names=names, output_dict=True)
    for row in report.rows:
        name = row["class"].replace(" mean", " avg")
        assert row["precision"] == pytest.approx(expected[name]["precision"])
        assert row["recall"] == pytest.approx(expected[name]["recall"])
        assert row["f1"] == pytest.approx(expected[name]["f1-score"])
        assert row["support"] == expected[name]["support"]
    counts = [[row[name] for name in names] for row in report.confusion]
    assert counts == sk.confusion_matrix(found.y, found.predicted).tolist()


def test_a_predictor_of_the_majority_is_visible():
    y = np.array([0] * 95 + [1] * 5)
    found = Classified(y, np.tile([1.0, 0.0], (100, 1)), np.tile([0.95, 0.05], (100, 1)))
    values = score_classification(found)
    assert values["majority_accuracy"] == 0.95
    assert values["balanced_accuracy"] == 0.5
    assert values["auroc"] == 0.5
    assert "every example is taken for no" in report_classification(found, ["no", "yes"]).remarks[0]


def test_a_split_with_a_single_class_leaves_out_what_it_does_not_define():
    found = Classified(np.ones(10, int), np.tile([0.0, 1.0], (10, 1)), None)
    assert set(score_classification(found)) == {"balanced_accuracy", "macro_f1", "majority_accuracy"}


def test_errors_of_numbers_are_scikit_learns():
    random = np.random.default_rng(0)
    y, predicted = random.standard_normal((2, 50, 3))
    for i, row in enumerate(report_regression(y, predicted, ["a", "b", "c"]).rows):
        assert row["output"] == "abc"[i]
        assert row["mae"] == pytest.approx(sk.mean_absolute_error(y[:, i], predicted[:, i]))
        assert row["median_absolute_error"] == pytest.approx(sk.median_absolute_error(y[:, i], predicted[:, i]))
        assert row["r2"] == pytest.approx(sk.r2_score(y[:, i], predicted[:, i]))


def test_evaluate_writes_the_report(mine):
    from tests.verbs import dlx

    said = json.loads(dlx("evaluate", mine.directory, "--report", "--json"))
    assert said == json.loads((mine.directory / "report-test.json").read_text())
    assert {"test/balanced_accuracy", "test/macro_f1", "test/auroc", "test/log_loss", "test/brier"} <= said[
        "metrics"
    ].keys()
    rows = list(csv.DictReader((mine.directory / "report-test.csv").read_text().splitlines()))
    assert [float(row["recall"]) for row in rows] == [row["recall"] for row in said["rows"]]
    counts = list(csv.DictReader((mine.directory / "confusion-test.csv").read_text().splitlines()))
    right = sum(int(row[row["true class"]]) for row in counts)
    total = sum(int(value) for row in counts for name, value in row.items() if name != "true class")
    assert right / total == pytest.approx(said["metrics"]["test/accuracy"])
    assert said["metrics"]["test/log_loss"] == pytest.approx(said["metrics"]["test/loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("model=svm", "dataset=iris"), {"auroc", "balanced_accuracy"}),
        (("model=knn", "dataset=iris"), {"auroc", "log_loss", "calibration_error"}),
        (("model=regressor", "dataset=diabetes", "trainer.epochs=1"), {"mae", "median_absolute_error"}),
        (("model=ridge", "dataset=diabetes"), {"mae", "median_absolute_error"}),
    ],
)
def test_every_kind_of_learner_has_them(words, names, train):
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config
    from dlx.trained.trained import measure, report

    run = train("run", *words)
    parts, _ = load_trained(run, load_config(run))
    measured = measure(parts, "test")
    assert {f"test/{name}" for name in names} <= measured.keys()
    assert all(np.isfinite(value) for value in measured.values())
    assert report(parts, "test").rows


def test_a_part_of_a_split_is_a_random_one():
    import torch

    from dlx.batch import Batch
    from dlx.tasks.task import draw_inputs

    batches = [Batch(torch.arange(start, start + 100.0)[:, None]) for start in range(0, 1000, 100)]
    part = draw_inputs(batches, 200)
    assert part.shape == (200, 1)
    assert len(part.unique()) == 200
    assert part.mean() == pytest.approx(499.5, abs=3 * 289 / 200**0.5), "of a sorted split not the first"
    assert torch.equal(part, draw_inputs(batches, 200))
    assert torch.equal(draw_inputs(batches, 1000), torch.arange(1000.0)[:, None])
