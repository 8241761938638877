"""What is asked of a classifier or a regression first, over a whole split, by scikit-learn.

Calibration error: M. P. Naeini, G. F. Cooper, M. Hauskrecht, AAAI 2015; C. Guo et al., ICML 2017,
https://arxiv.org/abs/1706.04599 (15 bins of equal width).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
BINS = 15  # of the confidence


class Classified(NamedTuple):
    """A split and what a classifier made of it."""

    y: Labels  # (n,)
    scores: Floats  # (n, classes); the largest is the prediction
    probabilities: Floats | None  # (n, classes), where the model has them

    @property
    def predicted(self) -> Labels:
        """The predicted labels, (n,)."""
        labels: Labels = self.scores.argmax(1)
        return labels


class Report(NamedTuple):
    """A report as tables: one row for each class (or output), then their means; and who was taken for whom."""

    rows: list[dict[str, Any]]
    confusion: list[dict[str, Any]]  # a row for each class: the counts of what it was taken for; empty for numbers
    remarks: list[str]


def score_classification(found: Classified, tops: Sequence[int] = ()) -> dict[str, float]:
    """Return metrics of a classifier; those that a split does not define (a single class) are left out.

    `auroc` and `average_precision` are those of the second class where there are two, else the plain mean over the
    classes that occur, each against the rest. `brier` is the mean squared distance of the probabilities to the label,
    over the second class alone where there are two. `majority_accuracy` is that of always naming the commonest class.

    Args:
        found: at least one example.
        tops: the k of `topk_accuracy`; beside them 5, or as many as there are classes but one, if these are fewer.
    """
    from sklearn import metrics as sk

    y, predicted, classes = found.y, found.predicted, found.scores.shape[1]
    present = np.unique(y)
    values = {
        "balanced_accuracy": np.mean([(predicted[y == label] == label).mean() for label in present]),
        "macro_f1": sk.f1_score(
            y, predicted, labels=np.unique([*present, *predicted]), average="macro", zero_division=0
        ),
        "majority_accuracy": np.bincount(y).max() / len(y),
    }
    if len(present) > 1:
        ranking = found.scores if found.probabilities is None else found.probabilities
        if classes == 2:
            margins = ranking[:, 1] - ranking[:, 0]
            values["auroc"] = sk.roc_auc_score(y, margins)
            values["average_precision"] = sk.average_precision_score(y, margins)
        else:
            values["auroc"] = np.mean([sk.roc_auc_score(y == label, ranking[:, label]) for label in present])
            values["average_precision"] = np.mean(
                [sk.average_precision_score(y == label, ranking[:, label]) for label in present]
            )
    for k in sorted({*tops, min(5, classes - 1)} - {1}):
        if k >= 2:
            best = np.argsort(-found.scores, axis=1, kind="stable")[:, :k]
            values[f"top{k}_accuracy"] = (best == y[:, None]).any(1).mean()
    if found.probabilities is not None:
        p = found.probabilities
        values["log_loss"] = sk.log_loss(y, p, labels=np.arange(classes))
        squares = np.square(p - np.eye(classes)[y]).sum(1)
        values["brier"] = (squares / 2 if classes == 2 else squares).mean()
        values["calibration_error"] = measure_calibration(p.max(1), predicted == y)
    return {name: float(value) for name, value in values.items()}


def measure_calibration(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error: the gap of accuracy and confidence, over bins, weighted by examples."""
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, correct.astype(np.float64) - confidence, BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def report_classification(found: Classified, names: Sequence[str] | None = None) -> Report:
    """Return precision, recall, F1 and support of each class, their means, and the confusion matrix."""
    from sklearn import metrics as sk

    labels = np.arange(found.scores.shape[1])
    known = [str(name) for name in names] if names else [str(label) for label in labels]
    columns = ("precision", "recall", "f1", "support")
    each = sk.precision_recall_fscore_support(found.y, found.predicted, labels=labels, zero_division=0)
    rows: list[dict[str, Any]] = []
    for name, precision, recall, f1, support in zip(known, *each, strict=True):
        rows.append(
            dict(zip(("class", *columns), (name, *map(float, (precision, recall, f1)), int(support)), strict=True))
        )
    for name, weights in (("macro mean", None), ("weighted mean", each[3])):
        means = {c: float(np.average(v, weights=weights)) for c, v in zip(columns, each[:3], strict=False)}
        rows.append({"class": name, **means, "support": int(each[3].sum())})
    counts = sk.confusion_matrix(found.y, found.predicted, labels=labels)
    confusion: list[dict[str, Any]] = []
    for name, row in zip(known, counts.tolist(), strict=True):
        confusion.append({"true class": name, **dict(zip(known, row, strict=True))})
    return Report(rows, confusion, _list_remarks(found, known))


def _list_remarks(found: Classified, names: Sequence[str]) -> list[str]:
    predicted, share = np.unique(found.predicted), np.bincount(found.y).max() / len(found.y)
    if len(predicted) == 1:
        return [
            f"every example is taken for {names[int(predicted[0])]}; always naming the commonest class "
            f"would be right in {share:.1%}"
        ]
    never = [name for label, name in enumerate(names) if label not in predicted and label in found.y]
    return [f"never predicted: {', '.join(never)}"] if never else []


def score_regression(y: Floats, predicted: Floats) -> dict[str, float]:
    """Return the median absolute error of y (n, outputs), the plain mean over the outputs."""
    from sklearn.metrics import median_absolute_error

    return {"median_absolute_error": float(median_absolute_error(y, predicted))}


def report_regression(y: Floats, predicted: Floats, names: Sequence[str] | None = None) -> Report:
    """Return the errors of each output, in its own units."""
    from sklearn import metrics as sk

    rows = []
    for i in range(y.shape[1]):
        a, b = y[:, i], predicted[:, i]
        rows.append(
            {
                "output": names[i] if names and len(names) == y.shape[1] else str(i),
                "mae": float(sk.mean_absolute_error(a, b)),
                "median_absolute_error": float(sk.median_absolute_error(a, b)),
                "rmse": float(np.sqrt(sk.mean_squared_error(a, b))),
                "r2": float(sk.r2_score(a, b)) if len(a) > 1 else float("nan"),
                "max_error": float(sk.max_error(a, b)),
                "support": len(a),
            }
        )
    return Report(rows, [], [])
