"""Bring a picture of any of Pillow's modes to bytes, grey or colour: upright, on white, 255 for its type's white."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlx.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
ORIENTATION = 0x0112  # EXIF's tag
# What is done to a picture, as a note says it: "3 of 90 pictures …".
TURNED = "were turned upright, as their EXIF data says"
ON_WHITE = "have transparent pixels, which were laid on white"
FRAMES = "have several frames, of which the first is taken"
SIXTEEN_BITS = "have more than 8 bits, which were rounded to 8"
FLOATS = "hold floats, which were rounded to 8 bits"
TO_GREY = "are in colour and were turned to grey"
TO_COLOUR = "are grey and were repeated in three channels"


class Decoded(NamedTuple):
    """A picture in bytes, and what was done to it."""

    image: "Image.Image"  # of mode L or RGB
    changes: tuple[str, ...]  # such as TURNED


def is_grey(mode: str) -> bool:
    """Return whether a mode of Pillow has one channel, transparency aside."""
    return mode in GREY_MODES


def to_bytes(opened: "Image.Image", channels: int, white: float | None, what: str) -> Decoded:
    """Convert an opened picture to mode L (1 channel) or RGB (3 channels).

    Args:
        opened: of any mode.
        channels: 1 or 3.
        white: the value that stands for white in pictures of more than 8 bits and of floats; None takes their type's:
            65535 of 16 bits, 1 of floats. 32-bit integers have none.
        what: the picture, for messages.

    Raises:
        UsageError: values are out of range, or their type does not say what white is.
    """
    from PIL import Image, ImageOps

    changes = []
    if getattr(opened, "is_animated", False):
        changes.append(FRAMES)
    if opened.getexif().get(ORIENTATION, 1) != 1:
        changes.append(TURNED)
    image = ImageOps.exif_transpose(opened)
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        changes.append(FLOATS if mode == "F" else SIXTEEN_BITS)
        image = Image.fromarray(_scale(image, str(opened.format), white, what))
        if opened.info.get("transparency") is not None:
            changes.append(ON_WHITE)
    elif image.has_transparency_data:
        image = image.convert(PREMULTIPLIED[mode]) if mode in PREMULTIPLIED else image
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            changes.append(ON_WHITE)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        image = image.convert("L") if is_grey(mode) else image
    elif mode not in ("L", "RGB"):
        image = image.convert("L" if is_grey(mode) else "RGB")
        if mode not in ("1", "P", "RGBX"):
            changes.append(f"are of the mode {mode} and were converted to RGB")
    wanted = "L" if channels == 1 else "RGB"
    if image.mode != wanted:
        changes.append(TO_GREY if channels == 1 else TO_COLOUR)
        image = image.convert(wanted)
    return Decoded(image, tuple(changes))


def _scale(image: "Image.Image", file_format: str, white: float | None, what: str) -> Any:
    """Return the bytes (height, width) of a picture of 16 bits, 32 bits or floats."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UsageError(f"the picture {what} holds {values[~np.isfinite(values)][0]}; needed: finite numbers")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        own: float | None = 1.0
        kind = "floats (mode F)"
    elif image.mode == "I":
        # Pillow brings the deep ones of PGM to sixteen bits itself.
        kind, own = "32-bit integers (mode I)", 65535.0 if file_format == "PPM" else None
    else:
        kind, own = f"16-bit integers (mode {image.mode})", 65535.0
    limit = white if white is not None else own
    if limit is None:
        raise UsageError(
            f"the picture {what} is of {kind}, from {low:g} to {high:g}, whose type does not say what white is; type "
            f"dataset.white={_guess_white(high)} for the value that stands for it"
        )
    if low < 0 or high > limit:
        raise UsageError(
            f"the picture {what} is of {kind}, from {low:g} to {high:g}; needed: from 0 to {limit:g}"
            + ("" if low < 0 else f"; type dataset.white={_guess_white(high)} for the value that stands for white")
        )
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values = np.where(values == transparent, limit, values)
    return (values * (255 / limit)).round().astype(np.uint8)


def _guess_white(high: float) -> str:
    """Return the least usual value for white that is not below `high`."""
    usual = (1, 255, 4095, 65535, 2**31 - 1, 2**32 - 1)
    return str(next((value for value in usual if high <= value), f"{high:g}"))
