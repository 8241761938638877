"""The learning curve: the score as the training split grows, by cross-validation."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from dlx.charts.chart import Chart
from dlx.charts.study import Study
from dlx.errors import UsageError

FOLDS = 5
SIZES = np.linspace(0.1, 1.0, 8)  # parts of a fold's training examples
MOST = 3000  # training examples that are used


class LearningCurve(Chart):
    """Training and cross-validated score of scikit-learn's estimator, fitted anew to more and more examples."""

    size: ClassVar[tuple[float, float]] = (7.0, 4.8)

    def check(self, study: Study) -> None:
        from sklearn.base import is_classifier, is_regressor

        estimator = study.estimator
        if estimator is None or not (is_classifier(estimator) or is_regressor(estimator)):
            raise UsageError(
                "learning_curve needs a classifier or regressor of scikit-learn's, which it fits again; "
                f"{type(study.estimator or study.model).__name__} was given; for a network train it with several "
                "dataset.limit=… and type dlx compare RUN RUN… --figure validation_curve"
            )

    def panel(self, study: Study, axes: Any) -> None:
        from sklearn.base import clone
        from sklearn.model_selection import KFold, LearningCurveDisplay, StratifiedKFold
        from threadpoolctl import threadpool_limits

        train = study.take("train", MOST)
        x, y = train.x.detach().flatten(1).cpu().double().numpy(), study.estimator_targets(train)
        folds: Any = KFold(FOLDS, shuffle=True, random_state=0)
        if study.dataset.classes and np.bincount(y).min() >= FOLDS:
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        if len(y) < 4 * FOLDS:
            raise UsageError(f"learning_curve needs at least {4 * FOLDS} training examples; there are {len(y)}")
        sizes = [size for size in SIZES if size * len(y) * (1 - 1 / FOLDS) >= max(10, 2 * (study.dataset.classes or 1))]
        with threadpool_limits(1), _refuse_failed_fits():
            LearningCurveDisplay.from_estimator(
                clone(study.model.pipeline), x, y, train_sizes=np.array(sizes or [1.0]), cv=folds, shuffle=True,
                random_state=0, scoring="accuracy" if study.dataset.classes else "r2", ax=axes,
                score_name="accuracy" if study.dataset.classes else "r²", score_type="both", error_score=np.nan,
                line_kw={"marker": "o"},
            )  # fmt: skip
        axes.set_title(f"{study.title.rpartition(' · ')[0]} · train, {FOLDS} folds of it; bands: ± sd of the folds")
        axes.set_xlabel("training examples")
        axes.legend(axes.get_legend_handles_labels()[0], ["seen in training", "held out of it"], frameon=False)


@contextlib.contextmanager
def _refuse_failed_fits() -> Iterator[None]:
    """Turn the warning about estimators that could not be fitted to so few examples into an error."""
    from sklearn.exceptions import FitFailedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", FitFailedWarning)
        try:
            yield
        except FitFailedWarning as error:
            first = " ".join(str(error).split(".")[0].split())
            raise UsageError(f"learning_curve needs more training examples: {first}") from error
