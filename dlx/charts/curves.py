"""A classifier's curves on a split: ROC, precision and recall, calibration; and its report."""

from typing import Any, ClassVar

import numpy as np
import torch

from dlx.charts.chart import Chart, Drawing
from dlx.charts.study import Study
from dlx.errors import UsageError
from dlx.figures.axes import make_axes
from dlx.figures.figures import make_colours, render_figure

MAX_CLASSES = 20  # whose curves are drawn
BINS = 10


def rank(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (n, classes) by which examples are ranked, and their labels (n,).

    They are probabilities, or what an estimator without these decides by (`decision_function`).
    """
    examples = study.take()
    if examples.y is None:
        raise UsageError("the examples given have no labels; needed: those of a split; leave the INPUT out")
    labels = examples.y.numpy()
    if study.has_probabilities:
        return study.probabilities(examples.x).numpy(), labels
    decide = getattr(study.estimator, "decision_function", None)
    if not callable(decide):
        return study.probabilities(examples.x).numpy(), labels
    values = np.asarray(decide(study.estimator_rows(examples.x)))
    if values.ndim == 1:
        values = np.stack([-values, values], 1)
    known = study.estimator.classes_
    if values.shape[1] != len(known):  # one against one: no score for each class
        return study.probabilities(examples.x).numpy(), labels
    scores = np.full((len(values), study.dataset.classes or 0), values.min() - 1.0)
    scores[:, np.asarray(known, dtype=int)] = values
    return scores, labels


class RocCurve(Chart):
    """True against false positive rate at every threshold: of class 1 of two, or of each class against the rest."""

    size: ClassVar[tuple[float, float]] = (7.0, 5.4)
    name: ClassVar[str] = "roc"

    def check(self, study: Study) -> None:
        study.require_classifier(self.name)

    def panel(self, study: Study, axes: Any) -> None:
        scores, labels = rank(study)
        names = study.class_names
        classes = [1] if len(names) == 2 else range(min(len(names), MAX_CLASSES))
        drawn = 0
        for k, colour in zip(classes, make_colours(len(classes)), strict=True):
            if not 0 < (labels == k).sum() < len(labels):
                continue  # a curve needs both
            self.draw_one(labels == k, scores[:, k], names[k], colour, axes)
            drawn += 1
        if drawn == 0:
            raise UsageError(f"{self.name} needs examples of two classes; those of {study.split} are all of one")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)

    def draw_one(self, true: np.ndarray, scores: np.ndarray, name: str, colour: Any, axes: Any) -> None:
        """Draw the curve of one class."""
        from sklearn.metrics import RocCurveDisplay, roc_auc_score, roc_curve

        x, y, _ = roc_curve(true, scores)
        area = roc_auc_score(true, scores)
        RocCurveDisplay(fpr=x, tpr=y).plot(ax=axes, curve_kwargs={"color": colour, "label": f"{name}: AUC {area:.3f}"})
        if not any(line.get_linestyle() == ":" for line in axes.lines):
            axes.plot([0, 1], [0, 1], color="0.5", linestyle=":", linewidth=1)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")


class PrecisionRecall(RocCurve):
    """Precision against recall at every threshold, with average precision."""

    name: ClassVar[str] = "precision_recall"

    def draw_one(self, true: np.ndarray, scores: np.ndarray, name: str, colour: Any, axes: Any) -> None:
        from sklearn.metrics import PrecisionRecallDisplay, average_precision_score, precision_recall_curve

        precision, recall, _ = precision_recall_curve(true, scores)
        label = f"{name}: AP {average_precision_score(true, scores):.3f}"
        display = PrecisionRecallDisplay(precision=precision, recall=recall)
        display.plot(ax=axes, curve_kwargs={"color": colour, "label": label, "drawstyle": "steps-post"})
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")


class Calibration(Chart):
    """How often a class is right that is given a probability: of class 1 of two, else of the predicted class."""

    size: ClassVar[tuple[float, float]] = (6.4, 5.4)

    def check(self, study: Study) -> None:
        study.require_classifier("calibration")
        if not study.has_probabilities:
            raise UsageError(
                f"calibration needs probabilities; {type(study.estimator or study.model).__name__} gives none; "
                "try dlx train model=logistic, or --method roc"
            )

    def panel(self, study: Study, axes: Any) -> None:
        from sklearn.calibration import CalibrationDisplay

        scores, labels = rank(study)
        two = scores.shape[1] == 2
        p = scores[:, 1] if two else scores.max(1)
        true = labels == 1 if two else scores.argmax(1) == labels
        if len(np.unique(true)) < 2:
            true_all = "right" if true[0] else "wrong"
            raise UsageError(f"calibration needs right and wrong answers; on {study.split} all are {true_all}")
        p = p.clip(0, 1)
        CalibrationDisplay.from_predictions(true, p, n_bins=BINS, ax=axes, name=study.name or "model")
        lower = axes.twinx()
        lower.hist(p, bins=BINS, range=(0, 1), color="C0", alpha=0.18)
        lower.set_ylabel("examples in each bin")
        lower.spines[["top", "left"]].set_visible(False)
        where = np.minimum((p * BINS).astype(int), BINS - 1)
        sizes = np.bincount(where, minlength=BINS)
        gaps = [abs(p[where == b].mean() - true[where == b].mean()) * sizes[b] for b in range(BINS) if sizes[b]]
        axes.set_title(f"{axes.get_title()}\nexpected calibration error {sum(gaps) / len(p):.3f}, {BINS} bins")
        axes.set_xlabel(f"probability of {study.class_names[1]}" if two else "probability of the predicted class")
        axes.set_ylabel("part of the examples for which it is true")


class Report(Chart):
    """Precision, recall and F1 of each class, as bars and as a table."""

    def check(self, study: Study) -> None:
        study.require_classifier("report")

    def draw(self, study: Study, name: str) -> Drawing:
        from sklearn.metrics import classification_report

        examples = study.take()
        if examples.y is None:
            raise UsageError("report needs labels; leave the INPUT out")
        predicted = study.answer(examples.x).argmax(1).numpy()
        names = study.class_names
        found = classification_report(
            examples.y.numpy(), predicted, labels=range(len(names)), target_names=names, output_dict=True,
            zero_division=0.0,
        )  # fmt: skip
        rows = [
            {"class": key, "precision": one["precision"], "recall": one["recall"], "f1": one["f1-score"],
             "examples": int(one["support"])}
            for key, one in found.items()
            if isinstance(one, dict)
        ]  # fmt: skip
        accuracy = float((predicted == examples.y.numpy()).mean())
        shown = rows[: len(names)][:40]
        figure, axes = make_axes((8.0, 1.8 + 0.42 * len(shown)), f"{study.title}\naccuracy {accuracy:.3f}")
        for k, measure in enumerate(("precision", "recall", "f1")):
            places = torch.arange(len(shown)) + (k - 1) * 0.26
            axes.barh(places, [row[measure] for row in shown], 0.26, label=measure)
        axes.set_yticks(range(len(shown)), [f"{row['class']} ({row['examples']})" for row in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("part of 1; beside each class its number of examples")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        return Drawing({name: render_figure(figure)}, {name: rows})
