"""Whether data may stand for probabilities, as binary units take them."""

from torch import nn

from dlx.datasets.dataset import Dataset, Split
from dlx.errors import UsageError

ROWS = 1000  # examples that are looked at
SLACK = 1e-3  # of scaling's rounding


def admit(dataset: Dataset, model: nn.Module) -> None:
    """Look at the first training examples for a model that takes data for `intensities`.

    Raises:
        UsageError: they are not in [0, 1], and no likelihood would mean anything.
    """
    train = dataset.splits["train"]
    if not getattr(model, "intensities", False) or not isinstance(train, Split):
        return
    x = dataset.transform(train.x[:ROWS], False, None)
    low, high = float(x.min()), float(x.max())
    if low >= -SLACK and high <= 1 + SLACK:
        return
    scale = "unit" if dataset.kind == "image" else "minmax"
    ways = [f"dataset.scale={scale}"] if hasattr(dataset, "scale") and dataset.kind != "sequence" else []
    ways += ["model=gaussian_hmm"] if dataset.kind == "sequence" else []
    ways += ["model.visible_units=gaussian"] if hasattr(model, "visible_kind") else []
    raise UsageError(
        f"{type(model).__name__} has binary visible units, and {dataset.source} values from {low:.3g} to {high:.3g}; "
        f"needed: from 0 to 1; type {' or '.join(ways) or 'another dataset='}"
    )
