"""A linear model's coefficients with their features' names, and their paths as the penalty falls."""

import warnings
from typing import Any, ClassVar

import numpy as np

from dlx.charts.chart import Chart, Drawing
from dlx.charts.study import Study
from dlx.errors import UsageError
from dlx.figures.axes import make_axes
from dlx.figures.figures import make_colours, render_figure

SHOWN = 20  # features that are drawn; the table has all
BARS = 4  # outputs whose bars stand side by side; more are drawn as a map
ALPHAS = 80  # penalties of a path
NAMED = 12  # features that a path's legend names


class Coefficients(Chart):
    """Coefficients as bars, for the features as the estimator saw them, and as a table in the units of the data too."""

    def check(self, study: Study) -> None:
        if not isinstance(getattr(study.estimator, "coef_", None), np.ndarray):
            raise UsageError(
                "coefficients needs a fitted linear model of scikit-learn's, such as linear, ridge, lasso or logistic; "
                f"{type(study.estimator or study.model).__name__} has none; try dlx train model=ridge"
            )

    def draw(self, study: Study, name: str) -> Drawing:
        estimator = study.estimator
        values = np.atleast_2d(estimator.coef_)  # (outputs, features)
        names, outputs = study.feature_names, _name_outputs(study, len(values))
        _, factor = study.data_units()
        scale = np.ones(1)
        if study.dataset.target_std is not None and not study.dataset.classes:
            scale = study.dataset.target_std.double().numpy()
        rows: list[dict[str, Any]] = []
        for i, feature in enumerate(names):
            for k, output in enumerate(outputs):
                one = {"feature": feature, **({"output": output} if len(outputs) > 1 else {})}
                raw = values[k, i] * scale[min(k, len(scale) - 1)] / factor[i] if factor[i] else float("nan")
                rows.append({**one, "coefficient": float(values[k, i]), "per unit of the data": float(raw)})
        rows.sort(key=lambda row: -abs(row["coefficient"]))
        order = np.abs(values).max(0).argsort(kind="stable")[-SHOWN:]
        size = (7.6, 1.6 + 0.3 * len(order) * (1 if len(outputs) > BARS else max(1.0, 0.6 * len(outputs))))
        figure, axes = make_axes(size, study.title.rpartition(" · ")[0] + " · train")
        if len(outputs) > BARS:
            largest = np.abs(values).max() or 1.0
            shown = axes.imshow(values[:, order[::-1]].T, cmap="coolwarm", vmin=-largest, vmax=largest, aspect="auto")
            axes.set_xticks(range(len(outputs)), outputs, rotation=45, ha="right")
            axes.set_yticks(range(len(order)), [names[i] for i in order[::-1]])
            axes.grid(False)
            figure.colorbar(shown, ax=axes, label="coefficient")
        else:
            height = 0.8 / len(outputs)
            for k, (output, colour) in enumerate(zip(outputs, make_colours(len(outputs)), strict=True)):
                places = np.arange(len(order)) + (k - (len(outputs) - 1) / 2) * height
                axes.barh(places, values[k, order], height, color=colour, label=output)
            axes.set_yticks(range(len(order)), [names[i] for i in order])
            axes.axvline(0, color="0.4", linewidth=0.8)
            axes.set_xlabel("coefficient of the feature as the model sees it (scaled where the data is)")
            if len(outputs) > 1:
                axes.legend(frameon=False)
        return Drawing({name: render_figure(figure)}, {name: rows})


def _name_outputs(study: Study, count: int) -> list[str]:
    names = study.class_names
    if not names:
        return [f"output {k}" for k in range(count)]
    if count == 1:
        return [f"log-odds of {names[int(study.estimator.classes_[-1])]}"]
    return [names[int(label)] for label in study.estimator.classes_] if count == len(study.estimator.classes_) else [
        f"output {k}" for k in range(count)
    ]  # fmt: skip


class Paths(Chart):
    """Coefficients of ridge, lasso or the elastic net against the penalty alpha, on the run's training split."""

    size: ClassVar[tuple[float, float]] = (8.4, 5.2)

    def check(self, study: Study) -> None:
        kind = type(study.estimator).__name__
        if kind not in ("Ridge", "Lasso", "ElasticNet") or np.atleast_2d(study.estimator.coef_).shape[0] > 1:
            raise UsageError(
                "paths needs ridge, lasso or elastic_net with one target, whose penalty is varied; "
                f"{type(study.estimator or study.model).__name__} was given; try dlx train model=lasso"
            )

    def panel(self, study: Study, axes: Any) -> None:
        estimator, train = study.estimator, study.take("train", 10**9)
        alphas, path = compute_path(estimator, study.estimator_rows(train.x), study.estimator_targets(train))
        names = study.feature_names
        order = np.abs(path).max(0).argsort(kind="stable")[::-1].tolist()
        for rank, (i, colour) in enumerate(zip(order, make_colours(len(order)), strict=True)):
            axes.plot(alphas, path[:, i], color=colour, linewidth=1.6, label=names[i] if rank < NAMED else None)
        axes.axvline(
            estimator.alpha, color="black", linestyle="--", linewidth=1, label=f"this run: {estimator.alpha:g}"
        )
        axes.axhline(0, color="0.4", linewidth=0.8)
        axes.set_title(study.title.rpartition(" · ")[0] + " · train")
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("penalty alpha (logarithmic; weaker to the right)")
        axes.set_ylabel("coefficient of the feature as the model sees it")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def compute_path(estimator: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return alphas (n,), from large to small, and the coefficients (n, features) that an estimator has at each.

    They go from where all is shrunk away to a thousandth of that, and beyond it where the estimator's own lies beyond.
    """
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    kind = type(estimator).__name__
    centred = x - x.mean(0) if estimator.fit_intercept else x
    correlation = np.abs(centred.T @ (y - y.mean() if estimator.fit_intercept else y)).max()
    if kind == "Ridge":
        largest = 10 * float(np.square(centred).sum(0).max())
        smallest = largest * 1e-6
    else:  # the least penalty that leaves nothing: Friedman et al. 2010, section 2.5
        largest = correlation / len(x) / (estimator.l1_ratio if kind == "ElasticNet" and estimator.l1_ratio else 1.0)
        smallest = largest * 1e-3
    if estimator.alpha > 0:
        largest, smallest = max(largest, 1.5 * estimator.alpha), min(smallest, estimator.alpha / 1.5)
    alphas = np.geomspace(largest, smallest, ALPHAS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the smallest alphas; the run's own fit has warned
        fitted = [clone(estimator).set_params(alpha=float(alpha)).fit(x, y).coef_ for alpha in alphas]
    return alphas, np.array([np.ravel(one) for one in fitted])
