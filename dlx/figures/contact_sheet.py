"""Draw sheets of pictures with text: a column for each example with its labels below, or named strips of maps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlx.figures.figures import FAINT, INK, make_grid, pil_to_tensor, to_unit_range

FONT_SIZE, LINE_HEIGHT, GAP = 11, 15, 4  # pixels; GAP is between pictures
GOOD, BAD = (8, 81, 156), (196, 69, 0)  # blue and orange, as in the confusion matrix
Colour = tuple[int, int, int]


class Text(NamedTuple):
    """A line below a picture."""

    text: str  # truncated where it is too long
    colour: Colour = INK
    tail: str = ""  # never truncated


def apply_colormap(values: Tensor, name: str = "magma") -> Tensor:
    """Map numbers in [0, 1], (n, H, W), to colours of one of matplotlib's maps, (n, 3, H, W)."""
    from matplotlib import colormaps

    table = torch.from_numpy(colormaps[name](range(256))[:, :3]).float()  # (256, 3)
    return table[(to_unit_range(values) * 255).round().long()].movedim(-1, 1)


def grey_to_rgb(images: Tensor) -> Tensor:
    """Expand images (n, 1 or 3, H, W) to (n, 3, H, W)."""
    return to_unit_range(images).expand(-1, 3, -1, -1)


def draw_columns(
    rows: Sequence[Tensor],
    names: Sequence[str] = (),
    below: Sequence[Sequence[Text]] = (),
    least: int = 112,
    between: float = 1.0,
) -> Tensor:
    """Draw a column for each example: its pictures one below the other, then its text; up to eight columns in a line.

    Args:
        rows: (n, 1 or 3, H, W) in [0, 1] each, all of one height and width.
        names: of the rows, at the left.
        below: lines of text for each example.
        least: smallest side of a picture in pixels; smaller ones are enlarged by a whole number.
        between: brightness around the pictures, from 0 (black) to 1 (white).

    Returns:
        (3, height, width) in [0, 1].
    """
    from PIL import Image, ImageDraw

    pictures = torch.stack([grey_to_rgb(row) for row in rows])  # (R, n, 3, H, W)
    R, n, _, H, W = pictures.shape
    scale = math.ceil(least / max(H, W))
    blocks, font = math.ceil(n / 8), _load_font()
    across = math.ceil(n / blocks)
    wide, high = W * scale + GAP, H * scale + GAP
    left = max((math.ceil(font.getlength(name)) for name in names), default=0) + (14 if names else GAP)
    lines = max(map(len, below), default=0)
    block = R * high + lines * LINE_HEIGHT + 10
    canvas = Image.new("RGB", (left + across * wide + GAP, blocks * block + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for k in range(blocks):
        part = pictures[:, k * across : (k + 1) * across]
        size = part.shape[1]
        canvas.paste(_to_pil(make_grid(part.flatten(0, 1), size, GAP, scale, between)), (left - GAP, k * block))
        for row, name in enumerate(names):
            place = (left - 8, k * block + row * high + high / 2)
            draw.text(place, name, fill=FAINT, font=font, anchor="rm")
        for column, texts in enumerate(below[k * across : k * across + size]):
            for line, text in enumerate(texts):
                place = (left + column * wide + W * scale / 2, k * block + R * high + line * LINE_HEIGHT + 4)
                draw.text(place, _truncate(text, wide, font), fill=text.colour, font=font, anchor="ma")
    return pil_to_tensor(canvas)


def draw_strips(parts: Sequence[Tensor], names: Sequence[str], head: Tensor, below: Sequence[Text] = ()) -> Tensor:
    """Draw a strip for each layer below an image: its maps side by side, its name at the left.

    Args:
        parts: (maps, h, w) in [0, 1] each.
        names: of the parts.
        head: (1 or 3, H, W) in [0, 1], the image whose activations the maps are.
        below: lines of text beside the image.
    """
    from PIL import Image, ImageDraw

    font = _load_font()
    left = max(math.ceil(font.getlength(name)) for name in names) + 14
    room = 1100
    images = [_to_pil(make_grid(grey_to_rgb(head[None]), 1, 2, max(1, round(96 / max(head.shape[1:]))), 1.0))]
    for maps in parts:
        side = max(maps.shape[1:])
        gap = 2 if side > 1 else 1
        wanted = min(len(maps), 128) if side == 1 else 16 if len(maps) <= 16 else 24  # in a line
        scale = max(1, min(9 if side == 1 else 60, (room // wanted - gap) // side))
        across = max(1, min(len(maps), room // (maps.shape[2] * scale + gap)))
        images.append(_to_pil(make_grid(grey_to_rgb(maps[:, None]), across, gap, scale, 1.0)))
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
                beside = (left + image.width + 8, top + 6 + line * LINE_HEIGHT)
                draw.text(beside, _truncate(text, room, font), fill=text.colour, font=font)
        top += image.height + 6
    return pil_to_tensor(canvas)


def _load_font() -> Any:
    """Load matplotlib's own font: Pillow's lacks × and most of the letters that names of classes may have."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", FONT_SIZE)


def _truncate(line: Text, width: int, font: Any) -> str:
    """Truncate a line to a width in pixels."""
    text, tail = line.text, f" {line.tail}" if line.tail else ""
    if font.getlength(text + tail) <= width:
        return text + tail
    while text and font.getlength(f"{text}…{tail}") > width:
        text = text[:-1]
    return f"{text}…{tail}"


def _to_pil(picture: Tensor) -> Any:
    from PIL import Image

    _, H, W = picture.shape
    pixels = (picture * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return Image.frombytes("RGB", (W, H), pixels.tobytes())
