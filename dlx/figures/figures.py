"""Make the pictures of tasks and models as tensors, (C, H, W) in [0, 1] or uint8."""

import io
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlx.figures.axes import make_axes
from dlx.runs.atomic import write_atomically

# ColorBrewer's Blues and Oranges, every other step, as RGB: for right and for wrong cells.
RIGHT_COLOURS = ((247, 251, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
WRONG_COLOURS = ((255, 255, 255), (253, 208, 162), (253, 141, 60), (217, 72, 1), (127, 39, 4))
INK, FAINT = (34, 34, 34), (120, 120, 120)


def make_grid(
    images: Tensor,
    columns: int | None = None,
    padding: int = 2,
    scale: int | None = None,
    between: float = 0.5,
) -> Tensor:
    """Arrange images in a grid, (C, H, W).

    Args:
        images: (N, C, H, W), or (N, H, W), float in [0, 1] or uint8.
        columns: of the grid; about as many as rows if None.
        padding: pixels around each image.
        scale: factor of enlargement, a whole number; if None, so that an image is at least 32 pixels wide.
        between: brightness around the images, from 0 (black) to 1 (white).
    """
    images = to_unit_range(images)
    if images.ndim == 3:
        images = images[:, None]
    if scale is None:
        scale = max(1, math.ceil(32 / max(images.shape[2:])))
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    N, C, H, W = images.shape
    columns = min(N, columns or math.ceil(math.sqrt(N)))
    rows = math.ceil(N / columns)
    sheet = torch.full((rows * columns, C, H + padding, W + padding), between)
    sheet[:N, :, :H, :W] = images
    sheet = sheet.view(rows, columns, C, H + padding, W + padding).permute(2, 0, 3, 1, 4)
    sheet = sheet.reshape(C, rows * (H + padding), columns * (W + padding))
    return torch.nn.functional.pad(sheet, (padding, 0, padding, 0), value=between)


def plot_filters(weights: Tensor, shape: Sequence[int] | None = None, limit: int = 100) -> Tensor:
    """Plot units' weights as images, (C, H, W): each scaled by its own largest weight, a weight of zero is grey.

    Args:
        weights: (N, D), one unit a row, or (N, C, h, w).
        shape: of one input, (h, w) or (C, h, w); may be None for the second kind.
        limit: of the number of units.
    """
    weights = weights[:limit].detach().float().cpu()
    if shape is not None:
        weights = weights.reshape(len(weights), *shape)
    if weights.ndim == 3:
        weights = weights[:, None]
    if weights.shape[1] not in (1, 3):  # neither grey nor coloured: every channel on its own
        weights = weights.flatten(0, 1)[:limit, None]
    largest = weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return make_grid(0.5 + weights / largest / 2, between=1.0)


def plot_confusion_matrix(counts: Tensor, names: Sequence[str] | None = None) -> Tensor:
    """Plot counts of (true, predicted) pairs as a table, (3, H, W).

    Colours show shares of a row: blue on the diagonal, orange off it, there by the square root so that rare errors are
    visible. The column on the right gives the recall of each class. Beyond 40 classes the numbers are left out.

    Args:
        counts: (K, K) integers, rows true, columns predicted.
        names: of the K classes; numbers if None.
    """
    from PIL import Image, ImageDraw, ImageFont

    K = len(counts)
    table = counts.tolist()
    labels = [_truncate(str(name)) for name in (names or range(K))]
    sums = [max(sum(row), 1) for row in table]
    recalls = [f"{100 * table[k][k] / sums[k]:.1f} %" for k in range(K)]
    written = K <= 40
    size = 15 if K <= 20 else 11
    font, big = ImageFont.load_default(size), ImageFont.load_default(size + 2)
    widest = max(font.getlength(str(cell)) for row in table for cell in row)
    cell = max(20, min(64, 320 // K), int(widest) + 10) if written else max(4, 640 // K)
    every = 1 if written else max(1, math.ceil((size + 2) / cell))  # labels that have room
    wide = math.ceil(max(font.getlength(label) for label in labels))
    turned = wide > cell - 4  # names under the columns, upright or turned
    left, top = wide + size + 30, 14
    below = (wide if turned else size) + size + 30
    width = left + K * cell + 18 + math.ceil(font.getlength("100.0 %")) + 10
    picture = Image.new("RGB", (width, top + K * cell + below), "white")
    draw = ImageDraw.Draw(picture)
    for i in range(K):
        y = top + i * cell
        for j in range(K):
            share = table[i][j] / sums[i]
            scale, at = (RIGHT_COLOURS, share) if i == j else (WRONG_COLOURS, math.sqrt(share))
            colour = _interpolate_colour(scale, at)
            x = left + j * cell
            gap = 1 if cell > 8 else 0
            draw.rectangle((x, y, x + cell - 1 - gap, y + cell - 1 - gap), fill=colour)
            if written and (i == j or table[i][j]):
                ink = "white" if sum(colour) < 400 else INK
                draw.text((x + cell / 2, y + cell / 2), str(table[i][j]), fill=ink, font=font, anchor="mm")
        if i % every == 0:
            draw.text((left - 8, y + cell / 2), labels[i], fill=INK, font=font, anchor="rm")
            draw.text((width - 10, y + cell / 2), recalls[i], fill=FAINT, font=font, anchor="rm")
            _draw_text(picture, (left + i * cell + cell / 2, top + K * cell + 6), labels[i], font, turned)
    draw.rectangle((left - 1, top - 1, left + K * cell, top + K * cell), outline=FAINT)
    foot = picture.height - 8
    draw.text((left + K * cell / 2, foot), "predicted", fill=INK, font=big, anchor="ms")
    draw.text((width - 10, foot), "recall", fill=FAINT, font=font, anchor="rs")
    _draw_text(picture, (10 + size / 2, top + K * cell / 2), "true", big, turned=True, centred=True)
    return pil_to_tensor(picture)


def _truncate(name: str, most: int = 16) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _interpolate_colour(scale: Sequence[tuple[int, int, int]], share: float) -> tuple[int, int, int]:
    """Return the colour at a place in [0, 1] of a scale."""
    at = min(max(share, 0.0), 1.0) * (len(scale) - 1)
    low = min(int(at), len(scale) - 2)
    red, green, blue = (round(a + (b - a) * (at - low)) for a, b in zip(scale[low], scale[low + 1], strict=True))
    return red, green, blue


def _draw_text(
    picture: Any, place: tuple[float, float], text: str, font: Any, turned: bool, centred: bool = False
) -> None:
    """Draw text with the middle of its top, or its centre if `centred`, at `place`; turned, it reads upwards."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(text)
    note = Image.new("RGB", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2), "white")
    ImageDraw.Draw(note).text((1 - left, 1 - top), text, fill=INK, font=font)
    if turned:
        note = note.rotate(90, expand=True)
    x, y = place
    picture.paste(note, (round(x - note.width / 2), round(y - note.height / 2 if centred else y)))


def plot_scatter(
    points: Tensor, labels: Tensor | None = None, names: Sequence[str] | None = None, title: str = ""
) -> Tensor:
    """Plot points in the plane, coloured by class, (3, H, W).

    Args:
        points: (N, 2).
        labels: (N,) integers.
        names: of the classes, for the legend; numbers if None.
        title: above the picture.
    """
    figure, axes = make_axes((6.4, 6.0), title)
    x, y = points.detach().float().cpu().T.numpy()
    size = min(max(12000 / max(len(x), 1), 6), 40)  # points squared
    if labels is None:
        axes.scatter(x, y, s=size, color="C0", alpha=0.7, linewidths=0)
    else:
        label = labels.detach().cpu().numpy()
        classes = sorted(set(label.tolist()))
        for k, colour in zip(classes, make_colours(len(classes)), strict=True):
            name = str(names[k]) if names is not None and k < len(names) else str(k)
            axes.scatter(*(v[label == k] for v in (x, y)), s=size, color=colour, alpha=0.8, linewidths=0, label=name)
        if 1 < len(classes) <= 26:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, markerscale=1.6)
    axes.set_aspect("equal", adjustable="datalim")
    return render_figure(figure)


def plot_lines(
    curves: Mapping[str, tuple[Any, Any]],
    title: str = "",
    x: str = "",
    y: str = "",
    logarithmic: bool = False,
    points: Collection[str] = (),
) -> Tensor:
    """Plot curves, (3, H, W).

    Args:
        curves: x and y by name: tensors, arrays or lists of equal length.
        title: above the picture.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        logarithmic: make the vertical axis logarithmic.
        points: names of the curves whose points are marked.
    """
    figure, axes = make_axes((7.2, 4.5), title)
    for (name, (across, up)), colour in zip(curves.items(), make_colours(len(curves)), strict=True):
        marker = "o" if name in points else None
        axes.plot(_to_numpy(across), _to_numpy(up), label=name, color=colour, linewidth=1.8, marker=marker)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.margins(x=0.01)
    if not any(torch.as_tensor(across).is_floating_point() for across, _ in curves.values()):
        axes.xaxis.get_major_locator().set_params(integer=True)  # what is counted has no halves
    if logarithmic:
        axes.set_yscale("log")
    if len(curves) > 1 or (len(curves) == 1 and not y):
        axes.legend(frameon=False)
    return render_figure(figure)


def _to_numpy(values: Any) -> Any:
    return values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values


def make_colours(number: int) -> list[Any]:
    """Return colours that can be told apart: matplotlib's own, or beyond ten of them a rainbow's."""
    from matplotlib import colormaps

    if number <= 10:
        return [f"C{k}" for k in range(number)]
    return [colormaps["turbo"](0.04 + 0.92 * k / (number - 1)) for k in range(number)]


def render_figure(figure: Any) -> Tensor:
    """Render a matplotlib figure, (3, H, W) in [0, 1]."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def to_unit_range(picture: Tensor) -> Tensor:
    """Return a picture on the processor as float32 in [0, 1]: uint8 is divided by 255, NaN becomes 0."""
    picture = picture.detach().cpu()
    if picture.dtype == torch.uint8:
        return picture.float() / 255
    return picture.float().nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)


def pil_to_tensor(picture: Any) -> Tensor:
    """Return an RGB image of Pillow's as a tensor, (3, H, W) uint8."""
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1)


def encode_png(picture: Tensor) -> bytes:
    """Encode a picture as the bytes of a PNG file.

    Args:
        picture: (C, H, W) with C of 1 (grey), 3 or 4, or (H, W); float in [0, 1] or uint8.
    """
    from PIL import Image

    picture = picture if picture.ndim == 3 else picture[None]
    pixels = picture.detach().cpu() if picture.dtype == torch.uint8 else (to_unit_range(picture) * 255).round().byte()
    C, H, W = pixels.shape
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[C]
    out = io.BytesIO()
    Image.frombytes(mode, (W, H), pixels.permute(1, 2, 0).contiguous().numpy().tobytes()).save(
        out,
        "PNG",
        compress_level=3,  # half the time of the usual 6, for 4 % more bytes
    )
    return out.getvalue()


def save_png(path: Path, picture: Tensor | bytes) -> None:
    """Write a picture, or a PNG's bytes, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, picture if isinstance(picture, bytes) else encode_png(picture))
