"""Clusters: centres and the cells around them, the iterations of k-means, silhouettes, and how many there should be."""

import warnings
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from dlx.charts.chart import Chart, Drawing
from dlx.charts.plane import Plane, make_plane
from dlx.charts.study import Study
from dlx.errors import UsageError
from dlx.figures.axes import make_panels
from dlx.figures.figures import make_colours, render_figure
from dlx.models.interfaces import Centred

RESOLUTION = 150  # points of the grid on each side
MOST = 2000  # examples of a silhouette, which takes the distances of all pairs
LARGEST = 12  # clusters that the elbow goes to
MAX_CENTRES = 200  # that are drawn
PANELS = 6  # iterations of k-means


def assign(study: Study, x: Tensor) -> Tensor:
    """Return the cluster of each x (n, *shape), (n,) int64."""
    return study.answer(x).long()


def require_clusterer(study: Study, what: str) -> None:
    """Refuse a model that gives no cluster for each example.

    Raises:
        UsageError: the message says what is needed.
    """
    fits = study.dataset.kind != "symbols" and study.dataset.step_layout == "fixed"
    if fits:
        try:
            answer = study.model(study.take(study.split, 3).x)
            fits = isinstance(answer, Tensor) and answer.ndim == 1 and not answer.is_floating_point()
        except (TypeError, RuntimeError, ValueError, AttributeError, IndexError, NotImplementedError):
            fits = False
    if not fits:
        raise UsageError(
            f"{what} needs a clustering, such as kmeans, mean_shift or neural_gas; "
            f"{type(study.estimator or study.model).__name__} is none; try dlx train model=kmeans dataset=blobs"
        )


def fill_cells(plane: Plane, places: np.ndarray, clusters: int, axes: Any) -> None:
    """Colour every point of the plane by the cluster that it is given to: Voronoi cells, where the nearest centre is.

    Args:
        plane: drawn in.
        places: (n, 2), which the cells surround.
        clusters: how many there may be.
        axes: matplotlib's.
    """
    from matplotlib.colors import ListedColormap

    margin = 0.06 * np.ptp(places, axis=0) + 1e-9
    low, high = places.min(0) - margin, places.max(0) + margin
    across, up = (np.linspace(low[i], high[i], RESOLUTION) for i in range(2))
    grid = np.stack(np.meshgrid(across, up), -1).reshape(-1, 2)
    cells = assign(plane.study, plane.lift(grid)).view(RESOLUTION, RESOLUTION).numpy()
    colours = ListedColormap(make_colours(clusters))
    axes.pcolormesh(across, up, cells, cmap=colours, vmin=-0.5, vmax=clusters - 0.5, alpha=0.3, rasterized=True)
    edges = (np.diff(cells, axis=0, append=cells[-1:]) != 0) | (np.diff(cells, axis=1, append=cells[:, -1:]) != 0)
    if edges.any():
        axes.contour(across, up, edges.astype(float), levels=[0.5], colors="0.35", linewidths=0.5)


class Clusters(Chart):
    """The clusters of a split in the plane, their centres, and the cell of each."""

    size: ClassVar[tuple[float, float]] = (7.4, 5.6)

    def check(self, study: Study) -> None:
        require_clusterer(study, "clusters")

    def panel(self, study: Study, axes: Any) -> None:
        plane, examples = make_plane(study), study.take()
        places, clusters = plane.project(examples.raw), assign(study, examples.x)
        centres = study.model.centres if isinstance(study.model, Centred) else None
        count = max(int(clusters.max()) + 1, 0 if centres is None else len(centres))
        around = places
        if centres is not None:
            spots = plane.project_inputs(centres.detach().float().view(-1, *(study.dataset.shape or ())))
            around = np.concatenate([places, spots[:MAX_CENTRES]])
        fill_cells(plane, around, count, axes)
        colours = make_colours(count)
        labels = examples.y if examples.y is not None and examples.y.ndim == 1 else None
        markers = "os^Dv<>P*X"
        names = study.class_names
        for k in range(len(names)) if labels is not None and names else [None]:
            some = np.ones(len(places), dtype=bool) if k is None or labels is None else (labels == k).numpy()
            axes.scatter(
                *places[some].T, s=20, c=[colours[int(c)] for c in clusters[some]], edgecolors="white", linewidths=0.4,
                marker="o" if k is None else markers[k % len(markers)],
                label=None if k is None else f"label {names[k]}",
            )  # fmt: skip
        if centres is not None:
            few = spots[:MAX_CENTRES]
            axes.scatter(*few.T, s=110, marker="X", color="black", edgecolors="white", label=f"{len(few)} centres")
        axes.grid(False)
        axes.set_xlabel(plane.labels[0])
        axes.set_ylabel(plane.labels[1])
        axes.set_title(f"{axes.get_title()}\n{len(clusters.unique())} clusters ({len(places)} examples)")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


class Silhouette(Chart):
    """Each example's silhouette (Rousseeuw 1987), sorted within its cluster; the dashed line is the mean."""

    size: ClassVar[tuple[float, float]] = (6.6, 5.6)

    def check(self, study: Study) -> None:
        require_clusterer(study, "silhouette")

    def panel(self, study: Study, axes: Any) -> None:
        from sklearn.metrics import silhouette_samples

        examples = study.take(most=MOST)
        rows, clusters = examples.x.detach().flatten(1).cpu().double().numpy(), assign(study, examples.x).numpy()
        found = np.unique(clusters)
        if not 1 < len(found) < len(rows):
            raise UsageError(
                f"silhouette needs 2 to {len(rows) - 1} clusters; {type(study.estimator or study.model).__name__} "
                f"found {len(found)} on {study.split}; try another number or bandwidth"
            )
        values = silhouette_samples(rows, clusters)
        colours, bottom = make_colours(int(found.max()) + 1), 0
        middles: dict[float, str] = {}
        for k in found:
            own = np.sort(values[clusters == k])
            axes.barh(np.arange(bottom, bottom + len(own)), own, height=1.0, color=colours[int(k)], linewidth=0)
            middles[bottom + len(own) / 2] = f"{k} ({len(own)})"
            bottom += len(own) + max(2, len(rows) // 100)
        axes.axvline(values.mean(), color="black", linestyle="--", linewidth=1)
        axes.set_title(f"{axes.get_title()}\nmean silhouette {values.mean():.3f}")
        axes.set_xlabel("silhouette: 1 well within its cluster, 0 between two, below in the wrong one")
        axes.set_ylabel("examples, by cluster (size)")
        axes.set_yticks(list(middles) if len(found) <= 30 else [], list(middles.values()) if len(found) <= 30 else [])


def _require_kmeans(study: Study, what: str) -> None:
    if type(study.estimator).__name__ not in ("KMeans", "MiniBatchKMeans"):
        raise UsageError(
            f"{what} needs k-means, which it runs again; {type(study.estimator or study.model).__name__} was given; "
            "try dlx train model=kmeans dataset=blobs"
        )


class Elbow(Chart):
    """Inertia and silhouette of k-means for each number of clusters, on the training split."""

    size: ClassVar[tuple[float, float]] = (7.2, 4.8)

    def check(self, study: Study) -> None:
        _require_kmeans(study, "elbow")

    def panel(self, study: Study, axes: Any) -> None:
        from sklearn.base import clone
        from sklearn.metrics import silhouette_score
        from threadpoolctl import threadpool_limits

        rows = study.estimator_rows(study.take("train", MOST).x)
        own = study.estimator.n_clusters
        ks = range(1, min(max(LARGEST, own + 2), len(rows) - 1) + 1)
        with threadpool_limits(1):
            fits = [clone(study.estimator).set_params(n_clusters=k).fit(rows) for k in ks]
        axes.plot(ks, [fit.inertia_ for fit in fits], marker="o", color="C0", label="inertia")
        axes.set_xlabel("number of clusters k")
        axes.set_ylabel("inertia: summed squared distance to the centre", color="C0")
        axes.xaxis.get_major_locator().set_params(integer=True)
        other = axes.twinx()
        some = [(k, fit) for k, fit in zip(ks, fits, strict=True) if 1 < len(set(fit.labels_)) < len(rows)]
        scores = [silhouette_score(rows, fit.labels_) for _, fit in some]
        other.plot([k for k, _ in some], scores, marker="s", color="C1", label="silhouette")
        other.set_ylabel("mean silhouette", color="C1")
        other.spines[["top"]].set_visible(False)
        axes.axvline(own, color="black", linestyle="--", linewidth=1)
        best = f", the best silhouette at k = {some[int(np.argmax(scores))][0]}" if some else ""
        axes.set_title(f"{study.title.rpartition(' · ')[0]} · train\nthis run: k = {own}{best}")


class KMeansIterations(Chart):
    """How k-means goes: the centres after each of its first iterations, and the ways they came (Lloyd 1957)."""

    size: ClassVar[tuple[float, float]] = (5.2, 4.4)

    def check(self, study: Study) -> None:
        _require_kmeans(study, "kmeans_iterations")

    def draw(self, study: Study, name: str) -> Drawing:
        plane, train = make_plane(study), study.take("train")
        rows = study.estimator_rows(train.x)
        ways = run_lloyd(rows, study.estimator.n_clusters, int(study.estimator.random_state or 0))
        places = plane.project(train.raw)
        spots = np.stack([plane.project_inputs(study.from_estimator_rows(one).float()) for one in ways])
        chosen = np.unique(np.linspace(0, len(ways) - 1, PANELS).round().astype(int))
        if len(ways) > PANELS:  # the first iterations move most
            chosen = np.array([*range(PANELS - 1), len(ways) - 1])
        columns = min(3, len(chosen))
        figure, panels = make_panels(
            -(-len(chosen) // columns), columns, self.size, study.title.rpartition(" · ")[0] + " · train"
        )
        colours = make_colours(len(ways[0]))
        for axes, step in zip(panels, chosen, strict=False):
            distances = np.square(rows[:, None] - ways[step][None]).sum(2)
            nearest = distances.argmin(1)
            axes.scatter(*places.T, s=8, c=[colours[k] for k in nearest], alpha=0.5, linewidths=0)
            for k, colour in enumerate(colours):
                axes.plot(*spots[: step + 1, k].T, color="black", linewidth=1.0)
                axes.scatter(*spots[step, k], s=110, marker="X", color=colour, edgecolors="black")
            what = "centres drawn from the examples" if step == 0 else f"after iteration {step} of {len(ways) - 1}"
            axes.set_title(f"{what}\ninertia {distances.min(1).sum():.4g}", fontsize=10)
            axes.set_xlabel(plane.labels[0])
            axes.set_ylabel(plane.labels[1])
        for axes in panels[len(chosen) :]:
            axes.set_visible(False)
        return Drawing({name: render_figure(figure)})


def run_lloyd(rows: np.ndarray, clusters: int, seed: int, most: int = 100) -> list[np.ndarray]:
    """Return the centres (clusters, features) before the first iteration of k-means and after each, by scikit-learn."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    drawn = np.random.default_rng(seed).choice(len(rows), clusters, replace=False)
    ways = [rows[drawn]]
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # one iteration seldom is the last
        for _ in range(most):
            ways.append(KMeans(clusters, init=ways[-1], n_init=1, max_iter=1, tol=0).fit(rows).cluster_centers_)
            if np.allclose(ways[-1], ways[-2], rtol=0, atol=1e-12):
                ways.pop()
                break
    return ways
