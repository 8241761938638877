"""Whether data may stand for probabilities, as binary units take them."""

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset, Generated, Stream
from dlx.datasets.images import Images
from dlx.errors import UsageError

ROWS = 1000  # examples that are looked at
MADE = 32  # of those that are made as they are needed
SLACK = 1e-3  # of scaling's rounding


def looked_at(dataset: Dataset) -> Tensor | None:
    """The first training examples as a model sees them, (n, *shape); None where files would have to be read."""
    train = dataset.splits["train"]
    if isinstance(train, Stream):
        return None
    x = train.make(MADE, torch.Generator().manual_seed(0)).x if isinstance(train, Generated) else train.x[:ROWS]
    return dataset.transform(x, False, None)


def within(x: Tensor) -> bool:
    """Whether all values are in [0, 1]."""
    return float(x.min()) >= -SLACK and float(x.max()) <= 1 + SLACK


def probable(dataset: Dataset) -> bool:
    """Whether data is bits, or the intensities of pixels: what else lies in [0, 1] need not be a probability."""
    x = looked_at(dataset)
    return x is None or bool(((x == 0) | (x == 1)).all()) or (isinstance(dataset, Images) and within(x))


def admit(dataset: Dataset, model: nn.Module) -> None:
    """Look at the first training examples for a model that takes data for `intensities`.

    Raises:
        UsageError: they are not in [0, 1], and no likelihood would mean anything.
    """
    x = looked_at(dataset) if getattr(model, "intensities", False) else None
    if x is None or within(x):
        return
    scale = "unit" if dataset.kind == "image" else "minmax"
    ways = [f"dataset.scale={scale}"] if hasattr(dataset, "scale") and dataset.kind != "sequence" else []
    ways += ["model=gaussian_hmm"] if dataset.kind == "sequence" else []
    ways += ["model.visible_units=gaussian"] if hasattr(model, "visible_kind") else []
    raise UsageError(
        f"{type(model).__name__} has binary visible units, and {dataset.source} values from {float(x.min()):.3g} to "
        f"{float(x.max()):.3g}; needed: from 0 to 1; type {' or '.join(ways) or 'another dataset='}"
    )
