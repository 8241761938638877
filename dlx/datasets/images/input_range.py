"""Checks whether data may stand for probabilities, as binary units take them, or for signs."""

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset
from dlx.datasets.images.images import Images
from dlx.datasets.splits import Generated, Split, Stream
from dlx.errors import UsageError

MAX_EXAMPLES = 1000  # examples that are looked at
GENERATED_EXAMPLES = 32  # of those that are made as they are needed
TOLERANCE = 1e-3  # of scaling's rounding


def sample_inputs(dataset: Dataset) -> Tensor | None:
    """Return the first training examples as a model sees them, (n, *shape); None where files would be read.

    A dataset with a restored state reads nothing for it: what was trained with was looked at then.
    """
    if not dataset.is_read:
        return None
    train = dataset.splits["train"]
    if isinstance(train, Stream):
        return None
    if isinstance(train, Generated):
        train = train.make(GENERATED_EXAMPLES, torch.Generator().manual_seed(0))
    return dataset.transform(train.x[:MAX_EXAMPLES], False, None)


def is_in_unit_interval(x: Tensor) -> bool:
    """Return whether all values are in [0, 1]."""
    return float(x.min()) >= -TOLERANCE and float(x.max()) <= 1 + TOLERANCE


def holds_probabilities(dataset: Dataset) -> bool:
    """Return whether data is bits or intensities of pixels: what else lies in [0, 1] need not be a probability."""
    x = sample_inputs(dataset)
    if x is None and dataset.seen_range is not None:
        low, high = dataset.seen_range
        is_unit = low >= -TOLERANCE and high <= 1 + TOLERANCE
        return dataset.has_bits or (isinstance(dataset, Images) and is_unit)
    return x is None or bool(((x == 0) | (x == 1)).all()) or (isinstance(dataset, Images) and is_in_unit_interval(x))


def validate_inputs(dataset: Dataset, model: nn.Module) -> None:
    """Check the first training examples for a model that takes data for `intensities`, or vectors for `signs`.

    Raises:
        UsageError: they are not in [0, 1], and no likelihood would mean anything; or their signs are not all they are.
    """
    if getattr(model, "signs", False) and dataset.kind != "image":
        _validate_signs(dataset, model)
    x = sample_inputs(dataset) if getattr(model, "intensities", False) else None
    if x is None or is_in_unit_interval(x):
        return
    fixes = " or ".join(_suggest_overrides(dataset, model)) or "another dataset="
    what = "binary emissions" if dataset.kind == "sequence" else "binary visible units"
    raise UsageError(
        f"{type(model).__name__} has {what}, and {dataset.source} values from {float(x.min()):.3g} to "
        f"{float(x.max()):.3g}; needed: from 0 to 1; type {fixes}"
    )


def _validate_signs(dataset: Dataset, model: nn.Module) -> None:
    x = sample_inputs(dataset)
    if x is None or is_two_valued(x):
        return
    most = max(len(values.unique()) for values in x.flatten(1).T)
    ways = ["dataset.values=signs"] if hasattr(dataset, "values") else []
    raise UsageError(
        f"{type(model).__name__} has units of two values, -1 and 1, and an element of {dataset.source} up to {most}; "
        f"needed: signs or bits; type {' or '.join([*ways, 'model=modern_hopfield'])}, which keeps real numbers"
    )


def is_two_valued(x: Tensor) -> bool:
    """Return whether each element of x (n, ...) has one value, or two with the middle of the data between them."""
    x = x.flatten(1)
    middle = x.max() / 2 if x.min() >= 0 else 0.0
    low, high = x.amin(0), x.amax(0)
    apart = (low == high) | ((low < middle) & (high >= middle))
    return bool((((x == low) | (x == high)) & apart).all())


def _suggest_overrides(dataset: Dataset, model: nn.Module) -> list[str]:
    """List what to type for data that is not in [0, 1]."""
    train, ways = dataset.splits["train"], []
    scale: str | None = "unit" if dataset.kind == "image" else "minmax"
    if dataset.kind == "sequence":  # of bits, perhaps, as long as nobody scales them
        scale = "none" if isinstance(train, Split) and is_in_unit_interval(train.x) else None
    if dataset.kind == "image" and getattr(dataset, "scale", None) in ("unit", "auto"):  # it has not helped
        values = sample_inputs(dataset)
        if hasattr(dataset, "white") and values is not None and float(values.min()) >= 0:
            ways.append(f"dataset.white={float(values.max()) * float(getattr(dataset, 'levels', 1)):g}")
    elif scale and hasattr(dataset, "scale"):
        ways.append(f"dataset.scale={scale}")
    if dataset.kind == "sequence":
        ways.append("model.emission=gaussian" if hasattr(model, "emission") else "model=gaussian_hmm")
    if hasattr(model, "visible_kind"):
        ways.append("model.visible_units=gaussian")
    return ways
