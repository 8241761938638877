"""Targets of the user's own data: which of them are classes, and which are numbers to predict."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets.tables.numbers import parse_number, parse_whole
from dlx.errors import UsageError

MAX_NUMERIC_CLASSES = 20  # different whole numbers that are still taken for classes


class EncodedTargets(NamedTuple):
    """Targets as a model needs them."""

    y: Tensor  # (examples,) int64 classes, or (examples, outputs) float64 targets
    names: list[str] | None  # of the classes
    note: str | None = None  # what was guessed


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
    if how == "classes" and values.ndim == 2 and is_one_hot(values):
        values = values.argmax(1)
    if how == "numbers" or not (how == "classes" or text or is_categorical(values)):
        return encode_numbers(values, what, how)
    if values.ndim != 1:
        raise UsageError(f"{what} has shape {list(values.shape)}; needed: one class for each example")
    different, codes = np.unique(values, return_inverse=True)
    shown = [_format_class(value) for value in different.tolist()]
    encoded = encode_classes(codes, shown, what, names)
    return encoded if text or how == "classes" else encoded._replace(note=describe_guess(what, values, True))


def encode_numbers(values: np.ndarray, what: str, how: str = "numbers") -> EncodedTargets:
    """Encode numbers (examples,) or (examples, outputs) as targets (examples, outputs) float64."""
    numbers = torch.from_numpy(values.astype(np.float64)).view(len(values), -1)
    note = None
    if values.dtype.kind in "iu" and values.size and max(abs(int(values.max())), abs(int(values.min()))) > 2**53:
        note = f"{what}: whole numbers beyond 2^53 were rounded to float64; dataset.target_type=classes does not"
    elif how == "auto" and values.ndim == 1 and np.isfinite(values).all() and (values == np.round(values)).all():
        note = describe_guess(what, values, False)
    return EncodedTargets(numbers, None, note)


def encode_classes(
    codes: np.ndarray,
    texts: Sequence[str],
    what: str,
    names: list[str] | None,
    find_line: Callable[[int], int] | None = None,
) -> EncodedTargets:
    """Encode classes by their texts: different texts are different classes.

    Whole numbers that are all written differently from their plain form (1.0, 2.0) are called by it (1, 2), in a later
    file too; where that would make one of two of them (2 and 2.0), they keep their own names.

    Args:
        codes: (examples,) into `texts`.
        texts: the different ones.
        what: the target's name, for messages.
        names: of the classes, where another part of the data has settled them.
        find_line: gives the line of a file where an example stands.

    Raises:
        UsageError: a class that `names` does not know.
    """
    occurring = np.bincount(codes, minlength=len(texts)) > 0
    plain = _plain_names([text for text, occurs in zip(texts, occurring, strict=True) if occurs])
    if names is None:
        names = order_labels(plain.values())
    index = {name: i for i, name in enumerate(names)}
    are_whole = all(name == str(parse_whole(name)) for name in names)
    places = np.full(len(texts), -1)
    for code in np.flatnonzero(occurring).tolist():
        text = texts[code]
        place = index.get(text)
        if place is None and are_whole:
            place = index.get(str(parse_whole(text)))
        if place is None:
            row = int((codes == code).argmax())
            line = f"; line {find_line(row)} of the file" if find_line else ""
            raise UsageError(
                f"{what} holds {text!r} in row {row} (counted from 0{line}); the "
                f"training part has the classes {', '.join(names[:20])} only"
            )
        places[code] = place
    return EncodedTargets(torch.from_numpy(places[codes].astype(np.int64)), names)


def order_labels(texts: Iterable[str]) -> list[str]:
    """Order different labels by value where all of them are numbers, else as text."""
    labels = list(texts)
    values = {text: parse_number(text) for text in labels}
    return sorted(labels, key=lambda text: ("", text) if None in values.values() else (values[text], text))


def is_categorical(values: np.ndarray) -> bool:
    """Return whether numbers are whole, and few enough to be classes."""
    if values.ndim != 1 or not np.isfinite(values).all() or not (values == np.round(values)).all():
        return False
    return len(np.unique(values)) <= min(MAX_NUMERIC_CLASSES, max(2, len(values) // 2))


def describe_guess(what: str, values: np.ndarray, classes: bool) -> str:
    """Say for a note that whole numbers were taken for classes, or not."""
    taken, other = ("classes", "numbers") if classes else ("numbers", "classes")
    count = len(np.unique(values))
    return f"{what}: {count} different whole numbers, taken for {taken}; dataset.target_type={other} if they are not"


def _plain_names(texts: Sequence[str]) -> dict[str, str]:
    """Name labels by their plain form where all are whole numbers and no two are the same one, else by themselves."""
    plain = {text: str(parse_whole(text)) for text in texts}
    is_same = len(set(plain.values())) < len(texts) or "None" in plain.values()
    return {text: text for text in texts} if is_same else plain


def is_one_hot(values: np.ndarray) -> bool:
    """Return whether each row of values (examples, classes) is a single 1 among zeros."""
    if values.dtype.kind not in "biuf" or values.shape[1] < 2:
        return False
    return bool(np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all())


def _format_class(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value)) if isinstance(value, float | bool) and value == int(value) else str(value)
