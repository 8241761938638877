"""Whether data may stand for probabilities, as binary units take them, or for signs."""

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset, Generated, Split, Stream
from dlx.datasets.images.images import Images
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
    """Look at the first training examples for a model that takes data for `intensities`, or vectors for `signs`.

    Raises:
        UsageError: they are not in [0, 1], and no likelihood would mean anything; or their signs are not all they are.
    """
    if getattr(model, "signs", False) and dataset.kind != "image":
        _admit_signs(dataset, model)
    x = looked_at(dataset) if getattr(model, "intensities", False) else None
    if x is None or within(x):
        return
    what = "binary emissions" if dataset.kind == "sequence" else "binary visible units"
    raise UsageError(
        f"{type(model).__name__} has {what}, and {dataset.source} values from {float(x.min()):.3g} to "
        f"{float(x.max()):.3g}; needed: from 0 to 1; type {' or '.join(_ways(dataset, model)) or 'another dataset='}"
    )


def _admit_signs(dataset: Dataset, model: nn.Module) -> None:
    x = looked_at(dataset)
    if x is None or two_valued(x):
        return
    most = max(len(values.unique()) for values in x.flatten(1).T)
    ways = ["dataset.values=signs"] if hasattr(dataset, "values") else []
    raise UsageError(
        f"{type(model).__name__} has units of two values, -1 and 1, and an element of {dataset.source} up to {most}; "
        f"needed: signs or bits; type {' or '.join([*ways, 'model=modern_hopfield'])}, which keeps real numbers"
    )


def two_valued(x: Tensor) -> bool:
    """Whether every element of x (n, ...) takes one value, or two of which the middle of the data lies between."""
    x = x.flatten(1)
    middle = x.max() / 2 if x.min() >= 0 else 0.0
    low, high = x.amin(0), x.amax(0)
    apart = (low == high) | ((low < middle) & (high >= middle))
    return bool((((x == low) | (x == high)) & apart).all())


def _ways(dataset: Dataset, model: nn.Module) -> list[str]:
    """What to type for data that is not in [0, 1]."""
    train, ways = dataset.splits["train"], []
    scale: str | None = "unit" if dataset.kind == "image" else "minmax"
    if dataset.kind == "sequence":  # of bits, perhaps, as long as nobody scales them
        scale = "none" if isinstance(train, Split) and within(train.x) else None
    if scale and hasattr(dataset, "scale"):
        ways.append(f"dataset.scale={scale}")
    if dataset.kind == "sequence":
        ways.append("model.emission=gaussian" if hasattr(model, "emission") else "model=gaussian_hmm")
    if hasattr(model, "visible_kind"):
        ways.append("model.visible_units=gaussian")
    return ways
