"""Decision regions: which class a classifier gives to every point of the plane, and how sure it is."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from dlx.charts.chart import Chart
from dlx.charts.plane import Plane, make_plane
from dlx.charts.study import Study
from dlx.figures.figures import make_colours

RESOLUTION = 150  # points of the grid on each side
MAX_VALUES = 2**22  # inputs' values in a whole grid: of large images it is coarser
MAX_SHOWN = 400  # training examples that are drawn
LINES_OF = 3  # examples whose neighbours are marked


class PlaneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The study's classifier as scikit-learn's displays take one: of points (n, 2) in the plane."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.classes_ = np.arange(plane.study.dataset.classes or 0)

    def fit(self, points: Any, y: Any = None) -> "PlaneClassifier":
        """Do nothing: the model has learned already."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, points: Any) -> np.ndarray:
        """Return p(class | point), (n, classes)."""
        p: np.ndarray = self.plane.study.probabilities(self.plane.lift(points)).numpy()
        return p

    def predict(self, points: Any) -> np.ndarray:
        """Return classes, (n,)."""
        labels: np.ndarray = self.predict_proba(points).argmax(1)
        return labels


class Regions(Chart):
    """Decision regions of a classifier on two features, or on the first two principal components of more."""

    size: ClassVar[tuple[float, float]] = (7.6, 5.6)

    def check(self, study: Study) -> None:
        study.require_classifier("regions")

    def panel(self, study: Study, axes: Any) -> None:
        plane = make_plane(study)
        train, shown = study.take("train"), study.take()
        places, own = plane.project(train.raw), plane.project(shown.raw)
        self._fill(plane, np.concatenate([places, own]), axes)
        if train.y is not None:
            few = slice(0, MAX_SHOWN)
            _scatter(axes, places[few], train.y[few], study, small=True)
        if shown.y is not None:
            _scatter(axes, own, shown.y, study, small=False)
        wrong = None if shown.y is None else (study.answer(shown.x).argmax(1) != shown.y).numpy()
        if wrong is not None and wrong.any():
            axes.scatter(*own[wrong].T, s=70, marker="x", color="black", linewidths=1.2, label="wrong")
        self._mark_support_vectors(study, plane, axes)
        self._mark_neighbours(study, plane, axes)
        axes.grid(False)
        axes.set_xlabel(plane.labels[0])
        axes.set_ylabel(plane.labels[1])
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
        if wrong is not None:
            loss = ""
            if study.has_probabilities and shown.y is not None:
                p = study.probabilities(shown.x).gather(1, shown.y[:, None]).clamp(min=1e-15)
                loss = f", cross-entropy {-float(p.log().mean()):.3f}"
            axes.set_title(f"{axes.get_title()}\naccuracy {1 - wrong.mean():.3f}{loss} ({len(wrong)} examples)")

    def _fill(self, plane: Plane, places: np.ndarray, axes: Any) -> None:
        from matplotlib.colors import LinearSegmentedColormap
        from sklearn.inspection import DecisionBoundaryDisplay

        features = int(np.prod(plane.study.dataset.shape or (1,)))
        resolution = int(min(RESOLUTION, max(28, (MAX_VALUES / features) ** 0.5)))
        margin = 0.06 * float(np.ptp(places, axis=0).max())
        classes = plane.study.dataset.classes or 0
        colours = make_colours(classes)
        how: dict[str, Any] = {"multiclass_colors": colours}
        if classes == 2:
            how = {"cmap": LinearSegmentedColormap.from_list("two", [colours[0], "white", colours[1]])}
        DecisionBoundaryDisplay.from_estimator(
            PlaneClassifier(plane),
            places,
            response_method="predict_proba",
            class_of_interest=1 if classes == 2 else None,
            plot_method="pcolormesh",
            grid_resolution=resolution,
            eps=margin,
            ax=axes,
            alpha=0.55,
            vmin=0.0,
            vmax=1.0,
            rasterized=True,
            xlabel="",
            ylabel="",
            **how,
        )

    def _mark_support_vectors(self, study: Study, plane: Plane, axes: Any) -> None:
        vectors = getattr(study.estimator, "support_vectors_", None)
        if vectors is None or len(vectors) == 0:
            return
        places = plane.project_inputs(study.from_estimator_rows(vectors))
        axes.scatter(
            *places.T, s=60, facecolors="none", edgecolors="black", linewidths=0.9,
            label=f"{len(places)} support vectors",
        )  # fmt: skip

    def _mark_neighbours(self, study: Study, plane: Plane, axes: Any) -> None:
        """Join a few examples, wrong ones first, with the neighbours that decided."""
        estimator = study.estimator
        if not callable(getattr(estimator, "kneighbors", None)):
            return
        shown, train = study.take(), study.dataset.splits["train"]
        order = list(range(len(shown.x)))
        if shown.y is not None:
            wrong = study.answer(shown.x).argmax(1) != shown.y
            order.sort(key=lambda row: not bool(wrong[row]))
        rows = order[:LINES_OF]
        x = study.estimator_rows(shown.x[rows])
        nearest = estimator.kneighbors(x, return_distance=False)
        raw = train.x if hasattr(train, "x") else study.take("train", len(train)).raw
        starts = plane.project(shown.raw[rows])
        for i, (start, found) in enumerate(zip(starts, nearest, strict=True)):
            ends = plane.project(raw[found])
            for end in ends:
                axes.plot(*np.stack([start, end]).T, color="black", linewidth=0.8, zorder=3)
            axes.scatter(
                *ends.T, s=45, facecolors="none", edgecolors="black", linewidths=0.9, zorder=4,
                label=f"the {nearest.shape[1]} nearest of {len(rows)} examples" if i == 0 else None,
            )  # fmt: skip


def _scatter(axes: Any, places: np.ndarray, y: Tensor, study: Study, small: bool) -> None:
    """Draw examples in their class's colour: small and faint those of the training split."""
    labels, names = y.numpy(), study.class_names
    for k, colour in enumerate(make_colours(len(names))):
        some = places[labels == k]
        if small:
            axes.scatter(*some.T, s=6, color=colour, alpha=0.45, linewidths=0)
        else:
            axes.scatter(*some.T, s=26, color=colour, edgecolors="white", linewidths=0.6, label=names[k], zorder=2)
