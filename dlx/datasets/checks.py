"""The sizes of a dataset: inferred from what was read, and checked against what was declared or fitted before."""

from typing import Protocol

import torch
from torch import Tensor

from dlx.datasets.splits import Generated, Part, Split
from dlx.errors import UsageError


class Sized(Protocol):
    """A dataset, as far as its sizes go."""

    kind: str
    shape: tuple[int, ...] | None
    classes: int | None
    outputs: int | None
    symbols: int | None
    names: list[str] | None
    vocabulary: list[str] | None
    dtype: torch.dtype | None
    is_fitted: bool

    @property
    def source(self) -> str:
        """What messages call the data."""


def infer_sizes(dataset: Sized, train: Part) -> None:
    """Infer the sizes from the training part: check those that were declared, and fill in those that were not."""
    if len(train) == 0:
        raise UsageError(f"{dataset.source} holds no examples; needed: at least one")
    if isinstance(train, Generated):  # it declares what it makes
        return
    x, y = (train.x[0], train.y) if isinstance(train, Split) else (train.data[0][0], train.y)
    if not hasattr(dataset, "kind"):
        dataset.kind = {1: "vector", 3: "image"}.get(x.ndim, "sequence")
    classes: int | None = None
    if dataset.kind == "symbols":
        classes = len(dataset.names) if dataset.names else None
    elif y is not None and not y.is_floating_point():
        classes = len(dataset.names) if dataset.names else int(y.max()) + 1
    columns = y.shape[1:].numel() if y is not None and y.is_floating_point() else None
    if columns and y is not None and dataset.kind == "sequence" and y.ndim == 3:  # targets of each step
        columns = y.shape[2]
    outputs = columns or classes or (x.shape[-1] if dataset.kind == "sequence" else x.numel())
    symbols = len(dataset.vocabulary or dataset.names or ()) if dataset.kind == "symbols" else None
    sizes = {"shape": tuple(x.shape), "classes": classes, "outputs": outputs, "symbols": symbols}
    if dataset.is_fitted:
        _check_dtype(dataset, x)
        if y is None or (classes is not None and classes <= (dataset.classes or 0)):
            # Unlabelled, or without some of the classes: those of the training stay.
            sizes = {"shape": tuple(x.shape)}
    for name, actual in sizes.items():
        declared = getattr(dataset, name)
        if declared is not None and declared != actual:
            shown = list(actual) if isinstance(actual, tuple) else "null" if actual is None else actual
            wanted = list(declared) if isinstance(declared, tuple) else declared
            if dataset.is_fitted:
                raise UsageError(
                    f"{dataset.source}: {name} is {shown}; needed: {wanted}, as in the data that was trained on"
                )
            raise UsageError(
                f"dataset.{name}={wanted} was given; {dataset.source} has {shown}; type dataset.{name}={shown}"
                if actual is not None
                else f"dataset.{name}={wanted} was given; {dataset.source} has no labels; type dataset.{name}=null"
            )
        setattr(dataset, name, actual)


def _check_dtype(dataset: Sized, x: Tensor) -> None:
    """Refuse whole numbers where a run was trained on others, and the reverse: they would be scaled wrongly."""
    if dataset.dtype is not None and x.is_floating_point() != dataset.dtype.is_floating_point:
        told = [str(dtype).removeprefix("torch.") for dtype in (x.dtype, dataset.dtype)]
        raise UsageError(f"{dataset.source} holds {told[0]}; needed: {told[1]}, as in the data that was trained on")


def check_labels(dataset: Sized, part: Part) -> None:
    """Refuse labels outside 0 … classes - 1, and a single class."""
    y, classes = None if isinstance(part, Generated) else part.y, dataset.classes
    if y is None or y.is_floating_point() or classes is None or dataset.kind == "symbols":
        return
    if classes < 2:
        raise UsageError(f"{dataset.source} has one class only; needed: two or more, or another target")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        wrong = int(((y < 0) | (y >= classes)).nonzero()[0])
        raise UsageError(
            f"{dataset.source}: row {wrong} has label {int(y[wrong])}; needed: labels from 0 to {classes - 1}"
        )
