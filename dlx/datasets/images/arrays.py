"""Tell what arrays of pictures mean: which axis the channels are, and which value is white."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dlx.errors import UsageError

CHANNELS = (1, 3, 4)  # how many a picture has, as a rule
BYTE = 255


def find_channels_last(
    sizes: Sequence[int], declared: Sequence[int] | None, channels: Literal["auto", "first", "last"], what: str
) -> bool:
    """Return whether the last of three axes of pictures is their channels, and not the first.

    It is the axis of 1, 3 or 4, or the odd one out where the two others are equal: height and width.

    Args:
        sizes: three, of one picture.
        declared: `dataset.shape`, channels first, if it was declared.
        channels: `first` or `last` says so.
        what: the array, for messages.

    Raises:
        UsageError: it cannot be told.
    """
    if channels != "auto":
        return channels == "last"
    a, b, c = sizes
    if declared is not None and tuple(declared) in ((a, b, c), (c, a, b)):
        return tuple(declared) != (a, b, c)
    first = [a in CHANNELS, b == c != a]  # few of them, or the odd one out
    last = [c in CHANNELS, a == b != c]
    if any(first) != any(last):
        return any(last)
    raise UsageError(
        f"{what} has pictures of {a}×{b}×{c}; which axis is their channels cannot be told; type dataset.channels=first "
        "or dataset.channels=last"
    )


def find_white(values: np.ndarray, white: float | Literal["auto", "bytes"], what: str) -> tuple[float, str | None]:
    """Return the value that stands for white, and a note on it; 1 for values that are to stay as they are.

    Whole numbers from 0 to 255 are bytes in whatever type they stand, as long as one of them is above 1.

    Args:
        values: of pictures, any shape.
        white: as in `Npz`.
        what: the array, for messages.

    Raises:
        UsageError: whole numbers above 255, of which no type says what white is.
    """
    if white not in ("auto", "bytes"):
        return float(white), None
    if values.dtype == np.uint8:
        return float(BYTE), None
    if white == "bytes" or values.dtype == np.bool_ or not values.size:
        return 1.0, None
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all() or (low >= 0 and high <= 1):
        return 1.0, None
    is_whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    if low < 0 or not is_whole:
        help_ = "" if low < 0 else "; type dataset.white=… for the value that stands for white"
        return 1.0, f"{what}: values from {low:g} to {high:g} are left as they are{help_}"
    if high <= BYTE:
        return float(BYTE), (
            f"{what}: whole numbers from {low:g} to {high:g} of type {values.dtype} are read as bytes, of which 255 is "
            "white; type dataset.white=… for another value"
        )
    usual = next((bits for bits in (1023, 4095, 16383, 65535) if high <= bits), None) or f"{high:g}"
    raise UsageError(
        f"{what} holds whole numbers up to {high:g} of type {values.dtype}, and which value is white is not known; "
        f"type dataset.white={usual} for it, or dataset.white=1 to leave them as they are"
    )
