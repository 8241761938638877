"""Targets of the user's own data: which of them are classes, and which are numbers to predict."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.errors import UsageError

MAX_NUMERIC_CLASSES = 20  # different whole numbers that are still taken for classes


class EncodedTargets(NamedTuple):
    """Targets as a model needs them."""

    y: Tensor  # (examples,) int64 classes, or (examples, outputs) float targets
    names: list[str] | None  # of the classes


def encode_targets(
    values: np.ndarray, what: str, how: Literal["auto", "classes", "numbers"] = "auto", names: list[str] | None = None
) -> EncodedTargets:
    """Encode targets (examples,) as classes, or targets (examples,) or (examples, outputs) as numbers.

    Args:
        values: text, whole or real numbers.
        what: the target's name, for messages.
        how: `auto` takes text, and up to twenty different whole numbers, for classes.
        names: of the classes, where another part of the data has settled them.

    Raises:
        UsageError: text where numbers are needed, or a class that `names` does not know.
    """
    text = values.dtype.kind not in "biuf"
    if text and how == "numbers":
        raise UsageError(
            f"{what} holds text ({str(values.flat[0])!r}); needed: numbers; type dataset.target_type=classes"
        )
    if how == "classes" and values.ndim == 2 and _is_one_hot(values):
        values = values.argmax(1)
    if how == "numbers" or not (how == "classes" or text or _is_categorical(values)):
        numbers = torch.from_numpy(values.astype(np.float32))
        return EncodedTargets(numbers.view(len(values), -1), None)
    if values.ndim != 1:
        raise UsageError(f"{what} has shape {list(values.shape)}; needed: one class for each example")
    shown = [_format_class(value) for value in values.tolist()]
    if names is None:
        names = [_format_class(value) for value in np.unique(values).tolist()]
    index = {name: i for i, name in enumerate(names)}
    unknown = next((row for row, value in enumerate(shown) if value not in index), None)
    if unknown is not None:
        raise UsageError(
            f"{what} holds {shown[unknown]!r} in row {unknown} (counted from 0); "
            f"the training part has the classes {', '.join(names[:20])} only"
        )
    return EncodedTargets(torch.tensor([index[value] for value in shown]), names)


def _is_categorical(values: np.ndarray) -> bool:
    """Return whether numbers are whole, and few enough to be classes."""
    if values.ndim != 1 or not np.isfinite(values).all() or not (values == np.round(values)).all():
        return False
    return len(np.unique(values)) <= min(MAX_NUMERIC_CLASSES, max(2, len(values) // 2))


def _is_one_hot(values: np.ndarray) -> bool:
    return values.shape[1] > 1 and bool(np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all())


def _format_class(value: Any) -> str:
    return str(int(value)) if isinstance(value, float | bool) and value == int(value) else str(value)
