"""Principal components and the error of a projection on them: the yardstick for whatever makes codes.

H. Hotelling, "Analysis of a complex of statistical variables into principal components", Journal of Educational
Psychology 24, 1933.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Split
from dlx.errors import UsageError

ROWS = 8192  # examples that are scaled at once


class Components(NamedTuple):
    """The mean (D,) of the training split and its first k principal components (D, k), in float64 on the CPU."""

    mean: Tensor
    axes: Tensor

    def squared_error(self, x: Tensor) -> Tensor:
        """Compute the squared distance (batch,) of x (batch, D) from the plane of the components."""
        centred = x - self.mean.to(x)
        return centred.square().sum(1) - (centred @ self.axes.to(x)).square().sum(1)


def fit_principal_components(dataset: Dataset, k: int) -> Components:
    """Fit k principal components to the training split, as a model sees it in evaluation.

    Raises:
        UsageError: the split is not in memory, or has fewer than k features.
    """
    train = dataset.splits["train"]
    if not isinstance(train, Split):
        raise UsageError(
            f"task.components={k} was given with a dataset that is read bit by bit; needed: one in memory; type "
            "task.components=0"
        )
    rows = (dataset.transform(part, False, None).flatten(1).double() for part in train.x.split(ROWS))
    total, products, size = torch.zeros(()), torch.zeros(()), len(train)
    for x in rows:
        total, products = total + x.sum(0), products + x.T @ x
    if k > len(total):
        raise UsageError(f"task.components={k} was given for {len(total)} features; needed: at most as many")
    mean = total / size
    _, axes = torch.linalg.eigh(products / size - mean.outer(mean))
    return Components(mean, axes[:, -k:])
