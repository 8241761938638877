"""How much each feature matters: by the splits of trees, and by what is lost when the feature is shuffled."""

from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score

from dlx.charts.chart import Chart, Drawing
from dlx.charts.study import Examples, Study
from dlx.errors import UsageError
from dlx.figures.axes import make_panels
from dlx.figures.figures import render_figure

REPEATS = 5  # shufflings of each feature
MAX_CALLS = 100_000  # examples that the model answers for all shufflings together
MAX_FEATURES = 1024
SHOWN = 20  # features that are drawn; the table has all


class RawModel(BaseEstimator):  # type: ignore[misc]
    """The study's model as scikit-learn's inspection takes one: of raw rows (n, features)."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def fit(self, rows: Any, y: Any = None) -> "RawModel":
        """Do nothing: the model has learned already."""
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return classes (n,), or numbers (n, outputs)."""
        study = self.study
        raw = torch.from_numpy(rows).to(study.dataset.dtype or torch.float32).view(-1, *(study.dataset.shape or ()))
        x = study.see(raw)
        answers = study.answer(x).argmax(1) if study.dataset.classes else study.predictions(x)
        result: np.ndarray = answers.numpy()
        return result


class Importances(Chart):
    """Impurity and permutation importances (Breiman 2001), with the features' names, as bars and as a table."""

    size: ClassVar[tuple[float, float]] = (6.0, 5.6)

    def check(self, study: Study) -> None:
        if study.dataset.classes:
            study.require_classifier("importances")
        else:
            study.require_regressor("importances")
        features = torch.Size(study.dataset.shape or ()).numel()
        if features > MAX_FEATURES:
            raise UsageError(
                f"importances needs at most {MAX_FEATURES} features, each of which is shuffled; {study.dataset.source} "
                f"has {features}; try --method saliency"
            )

    def draw(self, study: Study, name: str) -> Drawing:
        impurity = find_impurity(study.estimator, len(study.feature_names))
        examples = study.take()
        if examples.y is None:
            raise UsageError("importances needs labels or targets; leave the INPUT out")
        mean, deviation, used = permute(study, examples)
        names = study.feature_names
        rows: list[dict[str, Any]] = [
            {
                "feature": feature,
                **({} if impurity is None else {"impurity": float(impurity[i])}),
                "permutation": float(mean[i]),
                "sd": float(deviation[i]),
            }
            for i, feature in enumerate(names)
        ]
        rows.sort(key=lambda row: -row["permutation"])
        score = "accuracy" if study.dataset.classes else "r²"
        panels: list[tuple[str, np.ndarray, np.ndarray | None]] = [(f"permutation: loss of {score}", mean, deviation)]
        if impurity is not None:
            panels.insert(0, ("impurity: share of all splits' gain (train)", impurity, None))
        size = (self.size[0], 1.4 + 0.24 * min(len(names), SHOWN))
        figure, axes = make_panels(1, len(panels), size, f"{study.title} ({used} examples)")
        for place, (label, values, error) in zip(axes, panels, strict=True):
            order = np.argsort(values)[-SHOWN:]
            error_bars = None if error is None else error[order]
            place.barh([names[i] for i in order], values[order], xerr=error_bars, color="C0", ecolor="0.4")
            place.set_xlabel(label)
            if len(names) > SHOWN:
                place.set_title(f"the {SHOWN} largest of {len(names)}", fontsize=9)
        return Drawing({name: render_figure(figure)}, {name: rows})


def permute(study: Study, examples: Examples) -> tuple[np.ndarray, np.ndarray, int]:
    """Shuffle each feature in turn, in random examples as many as `MAX_CALLS` allows.

    Returns:
        Mean and standard deviation (features,) of the score's loss, and the number of examples.
    """
    from sklearn.inspection import permutation_importance

    assert examples.y is not None
    rows = examples.raw.flatten(1).numpy()
    most = max(50, MAX_CALLS // (REPEATS * rows.shape[1]))
    taken = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])  # a file may be sorted by class
    measure = accuracy_score if study.dataset.classes else r2_score
    found = permutation_importance(
        RawModel(study), rows[taken], examples.y.numpy()[taken], n_repeats=REPEATS, random_state=0,
        scoring=lambda model, x, y: measure(y, model.predict(x)),
    )  # fmt: skip
    return found.importances_mean, found.importances_std, len(taken)


def find_impurity(estimator: Any, features: int) -> np.ndarray | None:
    """Return an estimator's impurity importances (features,), of bagged trees their mean; None where it has none."""
    own = getattr(estimator, "feature_importances_", None)
    if own is not None:
        return np.asarray(own)
    trees = getattr(estimator, "estimators_", None)
    chosen = getattr(estimator, "estimators_features_", None)
    if trees is None or chosen is None or not all(hasattr(tree, "feature_importances_") for tree in trees):
        return None
    total = np.zeros(features)
    for tree, some in zip(trees, chosen, strict=True):
        total[some] += tree.feature_importances_
    return total / len(trees)
