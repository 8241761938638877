"""Sheets of pictures with text: columns of an example each with its labels below, and strips with their names."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlx.figures.figures import FAINT, INK, from_pil, grid, unit

SIZE, LINE, GAP = 11, 15, 4  # of the font, of a line, and between pictures, in pixels
GOOD, BAD = (8, 81, 156), (196, 69, 0)  # blue and orange, as in the confusion matrix
Colour = tuple[int, int, int]


class Text(NamedTuple):
    """A line below a picture."""

    text: str  # cut where it is too long
    colour: Colour = INK
    tail: str = ""  # stays whole


def coloured(values: Tensor, name: str = "magma") -> Tensor:
    """Numbers in [0, 1], (n, H, W), as colours of one of matplotlib's maps, (n, 3, H, W)."""
    from matplotlib import colormaps

    table = torch.from_numpy(colormaps[name](range(256))[:, :3]).float()  # (256, 3)
    return table[(unit(values) * 255).round().long()].movedim(-1, 1)


def grey_to_rgb(images: Tensor) -> Tensor:
    """(n, 1 or 3, H, W) as (n, 3, H, W)."""
    return unit(images).expand(-1, 3, -1, -1)


def columns(
    rows: Sequence[Tensor],
    names: Sequence[str] = (),
    below: Sequence[Sequence[Text]] = (),
    least: int = 112,
    between: float = 1.0,
) -> Tensor:
    """A column for each example: its pictures under each other, its text below; up to eight columns in a line.

    Args:
        rows: (n, 1 or 3, H, W) in [0, 1] each, all of one height and width.
        names: of the rows, at the left.
        below: lines of text for each example.
        least: pixels of a picture's side; small ones are enlarged by a whole number.
        between: what is around the pictures, from black to white.

    Returns:
        (3, height, width) in [0, 1].
    """
    from PIL import Image, ImageDraw

    pictures = torch.stack([grey_to_rgb(row) for row in rows])  # (R, n, 3, H, W)
    R, n, _, H, W = pictures.shape
    scale = math.ceil(least / max(H, W))
    blocks, font = math.ceil(n / 8), _font()
    across = math.ceil(n / blocks)
    wide, high = W * scale + GAP, H * scale + GAP
    left = max((math.ceil(font.getlength(name)) for name in names), default=0) + (14 if names else GAP)
    lines = max(map(len, below), default=0)
    block = R * high + lines * LINE + 10
    canvas = Image.new("RGB", (left + across * wide + GAP, blocks * block + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for k in range(blocks):
        part = pictures[:, k * across : (k + 1) * across]
        size = part.shape[1]
        canvas.paste(_image(grid(part.flatten(0, 1), size, GAP, scale, between)), (left - GAP, k * block))
        for row, name in enumerate(names):
            place = (left - 8, k * block + row * high + high / 2)
            draw.text(place, name, fill=FAINT, font=font, anchor="rm")
        for column, texts in enumerate(below[k * across : k * across + size]):
            for line, text in enumerate(texts):
                place = (left + column * wide + W * scale / 2, k * block + R * high + line * LINE + 4)
                draw.text(place, _fitting(text, wide, font), fill=text.colour, font=font, anchor="ma")
    return from_pil(canvas)


def strips(parts: Sequence[Tensor], names: Sequence[str], head: Tensor, below: Sequence[Text] = ()) -> Tensor:
    """A strip for each layer under an image: its maps side by side, its name at the left.

    Args:
        parts: (maps, h, w) in [0, 1] each.
        names: of the parts.
        head: (1 or 3, H, W) in [0, 1], the image that they answer to.
        below: lines of text beside the image.
    """
    from PIL import Image, ImageDraw

    font = _font()
    left = max(math.ceil(font.getlength(name)) for name in names) + 14
    room = 1100
    images = [_image(grid(grey_to_rgb(head[None]), 1, 2, max(1, round(96 / max(head.shape[1:]))), 1.0))]
    for maps in parts:
        side = max(maps.shape[1:])
        gap = 2 if side > 1 else 1
        wanted = min(len(maps), 128) if side == 1 else 16 if len(maps) <= 16 else 24  # in a line
        scale = max(1, min(9 if side == 1 else 60, (room // wanted - gap) // side))
        across = max(1, min(len(maps), room // (maps.shape[2] * scale + gap)))
        images.append(_image(grid(grey_to_rgb(maps[:, None]), across, gap, scale, 1.0)))
    wide = left + max(image.width for image in images) + GAP
    canvas = Image.new("RGB", (wide, sum(image.height + 6 for image in images) + 2 * GAP), "white")
    draw = ImageDraw.Draw(canvas)
    top = GAP
    for place, image in enumerate(images):
        canvas.paste(image, (left, top))
        if place:
            draw.text((left - 8, top + image.height / 2), names[place - 1], fill=FAINT, font=font, anchor="rm")
        else:
            for line, text in enumerate(below):
                beside = (left + image.width + 8, top + 6 + line * LINE)
                draw.text(beside, _fitting(text, room, font), fill=text.colour, font=font)
        top += image.height + 6
    return from_pil(canvas)


def _font() -> Any:
    """matplotlib's own font: Pillow's lacks ×, and most letters that a class may be called by."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", SIZE)


def _fitting(line: Text, width: int, font: Any) -> str:
    """A line cut to a width in pixels."""
    text, tail = line.text, f" {line.tail}" if line.tail else ""
    if font.getlength(text + tail) <= width:
        return text + tail
    while text and font.getlength(f"{text}…{tail}") > width:
        text = text[:-1]
    return f"{text}…{tail}"


def _image(picture: Tensor) -> Any:
    from PIL import Image

    _, H, W = picture.shape
    pixels = (picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return Image.frombytes("RGB", (W, H), pixels.tobytes())
