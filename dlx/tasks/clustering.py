"""Clustering: which examples belong together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.metrics import Metric
from dlx.models.interfaces import Centred, Measuring
from dlx.tasks.task import Task
from dlx.types import Count

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset


class ClusteredSplit(NamedTuple):
    """A split and the clusters of its examples."""

    x: Tensor  # (examples, features) float64, on the CPU
    clusters: Tensor  # (examples,) int64
    labels: Tensor | None  # (examples,) int64, where the dataset has them


class Clustering(Task):
    """Models give the index of each example's cluster, (batch,) integers.

    `inertia` is the sum over the split of each example's squared distance to the centre of its cluster, and
    `squared_distance` its mean. The centres are the model's own, `centres` (clusters, *shape), where it has them, else
    the means of what it put together. `clusters` counts those that hold an example. `silhouette` (Rousseeuw 1987), in
    [-1, 1], compares distances within clusters to those to the next one. Where the dataset has labels, which no model
    saw, `adjusted_rand_index` (Hubert, Arabie 1985; 1 for agreement, 0 on average by chance) and
    `normalised_mutual_information` (in [0, 1]) compare the clusters with them.

    Args:
        sample: the silhouette is that of so many examples at most, since it takes the distances of all pairs.
    """

    needs: ClassVar[str | None] = None
    monitor = "inertia"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "inertia",
        "squared_distance",
        "clusters",
        "silhouette",
        "adjusted_rand_index",
        "normalised_mutual_information",
    )

    def __init__(self, sample: Count = 2000) -> None:
        self.sample = sample
        self.names: list[str] | None = None
        self.shape: tuple[int, ...] = ()

    def attach(self, dataset: "Dataset") -> None:
        self.names, self.shape = dataset.names, dataset.shape or ()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return what a model measures of single examples, `measures(x)`, if it does; the rest needs a whole split."""
        return model.measures(batch.x) if isinstance(model, Measuring) else {}

    def split_metrics(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

        x, clusters, labels = cluster_split(model, batches)
        distance = squared_distances(x, clusters, model.centres if isinstance(model, Centred) else None)
        values = {
            "inertia": float(distance.sum()),
            "squared_distance": float(distance.mean()),
            "clusters": float(len(clusters.unique())),
        }
        if labels is not None:
            values["adjusted_rand_index"] = float(adjusted_rand_score(labels, clusters))
            values["normalised_mutual_information"] = float(normalized_mutual_info_score(labels, clusters))
        seen = _draw_rows(len(x), self.sample)
        if 1 < len(clusters[seen].unique()) < len(clusters[seen]):  # else it is not defined
            values["silhouette"] = float(silhouette_score(x[seen], clusters[seen]))
        return values

    def remark(self, examples: int) -> str | None:
        few = f"the silhouette is that of {self.sample:,} of the {examples:,} examples of a split, drawn at random"
        return few if examples > self.sample else None

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return indices of clusters, (batch,)."""
        result: Tensor = model(x)
        return result

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return indices of clusters, (batch,)."""
        return {"cluster": model(x)}

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw the split on its first two principal components, by cluster and by label, and centres as images."""
        from dlx.figures.figures import make_grid, plot_scatter

        x, clusters, labels = cluster_split(model, batches)
        seen = _draw_rows(len(x), self.sample)
        points = project_to_plane(x[seen])
        pictures = {"clusters": plot_scatter(points, clusters[seen], title="clusters")}
        if labels is not None:
            pictures["labels"] = plot_scatter(points, labels[seen], self.names, title="labels")
        centres = model.centres if isinstance(model, Centred) else None
        if centres is not None and len(self.shape) == 3 and self.shape[0] in (1, 3):
            low, high = x.min(), x.max()  # the data's range, whatever its scaling
            pictures["centres"] = make_grid(
                ((centres.detach().cpu() - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
            )
        return pictures


def _draw_rows(n: int, most: int) -> Tensor:
    """Return random rows of n, in order, the same each time; all of them if there are no more."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most].sort().values


def cluster_split(model: nn.Module, batches: Iterable[Batch]) -> ClusteredSplit:
    """Return a whole split, and the clusters that a model finds in it."""
    parts = [(batch.x.flatten(1).cpu().double(), model(batch.x).cpu().long(), batch.y) for batch in batches]
    xs, clusters, ys = zip(*parts, strict=True)
    labelled = all(y is not None and y.ndim == 1 and not y.is_floating_point() for y in ys)
    labels = torch.cat([y.cpu() for y in ys if y is not None]) if labelled else None
    return ClusteredSplit(torch.cat(xs), torch.cat(clusters), labels)


def squared_distances(x: Tensor, clusters: Tensor, centres: Tensor | None = None) -> Tensor:
    """Compute the squared Euclidean distance of each example to the centre of its cluster, (examples,).

    Args:
        x: (examples, features) float64.
        clusters: (examples,) int64.
        centres: (clusters, ...); if None, the means of the clusters.
    """
    if centres is None:
        _, clusters = clusters.unique(return_inverse=True)
        counts = clusters.bincount()
        centres = x.new_zeros(len(counts), x.shape[1]).index_add_(0, clusters, x) / counts[:, None]
    return (x - centres.detach().to(x).flatten(1)[clusters]).square().sum(1)


def project_to_plane(x: Tensor) -> Tensor:
    """Project x (examples, features) on its first two principal components, (examples, 2); a plane's points stay.

    One feature becomes the first coordinate, and the second is 0.
    """
    if x.shape[1] <= 2:
        return torch.nn.functional.pad(x, (0, 2 - x.shape[1]))
    centred = x - x.mean(0)
    covariance = (centred.T @ centred).numpy()
    _, directions = np.linalg.eigh(covariance)  # the largest eigenvalue last
    return centred @ torch.from_numpy(directions[:, [-1, -2]].copy())
