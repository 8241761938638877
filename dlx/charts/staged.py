"""An ensemble's error as members join it, on the training split and the one that is looked at."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import accuracy_score, root_mean_squared_error

from dlx.charts.chart import Chart
from dlx.charts.study import Study
from dlx.errors import UsageError


class Staged(Chart):
    """Error against the number of members: those boosted so far, or the mean of the first ones."""

    size: ClassVar[tuple[float, float]] = (7.0, 4.6)

    def check(self, study: Study) -> None:
        estimator = study.estimator
        if not (hasattr(estimator, "staged_predict") or _has_members(estimator)):
            raise UsageError(
                "staged needs an ensemble whose members are of one kind, such as random_forest, bagging, boosting or "
                f"gradient_boosting; {type(study.model if estimator is None else estimator).__name__} was given; "
                "try dlx train model=boosting"
            )

    def panel(self, study: Study, axes: Any) -> None:
        for split in dict.fromkeys(["train", study.split]):
            examples = study.take(split)
            if examples.y is None:
                raise UsageError(f"staged needs labels or targets; the split {split} has none")
            errors = list(iterate_errors(study, study.estimator_rows(examples.x), examples.y.numpy()))
            axes.plot(range(1, len(errors) + 1), errors, label=f"{split}, at last {errors[-1]:.4g}", linewidth=1.8)
        axes.set_xlabel("members of the ensemble")
        unit = "of the classes" if study.dataset.classes else "in the units of the data"
        axes.set_ylabel(f"error rate {unit}" if study.dataset.classes else f"root mean squared error, {unit}")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


def _has_members(estimator: Any) -> bool:
    kinds = {type(member) for member in getattr(estimator, "estimators_", None) or ()}
    return len(kinds) == 1 and not hasattr(estimator, "final_estimator_")


def iterate_errors(study: Study, rows: np.ndarray, y: np.ndarray) -> Iterator[float]:
    """Yield the error of the first member, of the first two, and so on."""
    estimator = study.estimator
    for answer in estimator.staged_predict(rows) if hasattr(estimator, "staged_predict") else _iterate(estimator, rows):
        if study.dataset.classes:
            yield 1.0 - float(accuracy_score(y, answer))
        else:
            import torch

            values = study.to_data_units(torch.from_numpy(np.asarray(answer, dtype=float)).view(len(rows), -1))
            yield float(root_mean_squared_error(y, values.numpy()))


def _iterate(estimator: Any, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the predictions of the first members' mean, as forests and bagging take it."""
    chosen = getattr(estimator, "estimators_features_", [slice(None)] * len(estimator.estimators_))
    total: Any = 0.0
    for count, (member, features) in enumerate(zip(estimator.estimators_, chosen, strict=True), 1):
        if not hasattr(estimator, "classes_"):
            total = total + member.predict(rows[:, features])
            yield total / count
            continue
        p = np.zeros((len(rows), len(estimator.classes_)))
        p[:, np.asarray(member.classes_, dtype=int)] = member.predict_proba(rows[:, features])
        total = total + p
        yield estimator.classes_[total.argmax(1)]
