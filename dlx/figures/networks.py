"""Plot graphs and lattices of units, (3, H, W) in [0, 1]."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dlx.figures.axes import make_axes
from dlx.figures.figures import render_figure

SIDE = 6.4  # inches


def plot_network(
    places: Tensor, edges: Tensor, data: Tensor | None = None, images: Tensor | None = None, title: str = ""
) -> Tensor:
    """Plot units in the plane, with lines between connected ones.

    Args:
        places: of the units, (units, 2).
        edges: (units, units) bool, symmetric.
        data: points that are drawn beneath, (n, 2); rows that are not finite are left out.
        images: of the units, (units, C, H, W) in [0, 1] with C of 1 or 3, drawn in their places instead of dots.
        title: above the picture.
    """
    from matplotlib.collections import LineCollection

    at = places.detach().float().cpu()
    pairs = edges.detach().cpu().triu(1).nonzero()
    if images is not None:
        return _plot_images(at, pairs, images, title)
    figure, axes = make_axes((SIDE, SIDE), title)
    if data is not None:
        finite = data.detach().float().cpu()
        finite = finite[finite.isfinite().all(1)]
        axes.scatter(*finite.T.numpy(), s=min(max(6000 / max(len(finite), 1), 4), 20), color="0.75", linewidths=0)
    axes.add_collection(LineCollection(list(at[pairs].numpy()), colors="C0", linewidths=1.4, zorder=2))
    axes.scatter(*at.T.numpy(), s=min(max(2400 / max(len(at), 1), 10), 40), color="C3", linewidths=0, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    return render_figure(figure)


def _plot_images(at: Tensor, pairs: Tensor, images: Tensor, title: str) -> Tensor:
    """Plot images in their units' places, pushed apart where they would overlap."""
    from matplotlib.collections import LineCollection

    size = min(0.09, 0.62 / math.sqrt(len(at)))  # of an image, as a share of the picture's width
    span = (at.amax(0) - at.amin(0)).amax().clamp(min=1e-12)
    middle = (at.amax(0) + at.amin(0)) / 2
    at = push_apart((at - middle) / span * (0.98 - size), 1.12 * size)
    figure, axes = make_axes((1.25 * SIDE, 1.25 * SIDE), title)
    lines = LineCollection(list(at[pairs].numpy()), colors="C0", linewidths=1.2, alpha=0.6, zorder=2)
    axes.add_collection(lines)
    for (x, y), image in zip(at.tolist(), images.detach().float().cpu(), strict=True):
        pixels = image.permute(1, 2, 0).clamp(0, 1).numpy()
        height, width = (size / 2 * side / max(image.shape[1:]) for side in image.shape[1:])
        axes.imshow(
            pixels if pixels.shape[2] == 3 else pixels[..., 0],
            extent=(x - width, x + width, y - height, y + height),
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest",
            zorder=3,
        )
    low, high = at.amin(0) - size, at.amax(0) + size
    axes.set_xlim(float(low[0]), float(high[0]))
    axes.set_ylim(float(low[1]), float(high[1]))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return render_figure(figure)


def push_apart(places: Tensor, gap: float, rounds: int = 200) -> Tensor:
    """Move places (n, 2) until no two squares of side `gap` overlap, for at most `rounds` rounds."""
    at = places.double()
    at = at + 1e-6 * torch.linspace(-1, 1, at.numel(), dtype=at.dtype).view_as(at)  # separates equal places
    for _ in range(rounds):
        between = at[:, None] - at[None]
        overlap = (gap - between.abs()).clamp(min=0)
        near = overlap.amin(2) > 1e-9
        near.fill_diagonal_(False)
        if not near.any():
            break
        along = overlap.argmin(2, keepdim=True)  # along the axis of the smaller overlap
        push = torch.zeros_like(between).scatter_(2, along, (between.sign() * overlap).gather(2, along))
        at = at + 0.4 * (push * near[..., None]).sum(1)
    return at.to(places.dtype)


def plot_lattice(places: Tensor, values: Mapping[str, Tensor], hexagonal: bool = False) -> Tensor:
    """Plot a lattice of cells coloured by value, once for each name, side by side, each with its own scale.

    Args:
        places: of the units on the lattice, (units, 2), neighbours 1 apart.
        values: by name, (units,).
        hexagonal: draw hexagons instead of squares.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    at = places.detach().double().cpu()
    corners = _make_hexagon() if hexagonal else torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    outlines = (at[:, None] + corners).numpy()  # (units, corners, 2)
    columns = math.ceil(math.sqrt(len(values)))
    rows = math.ceil(len(values) / columns)
    side = SIDE if len(values) == 1 else 3.2
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(side * columns, side * rows), dpi=120, layout=layout)
    for axes, (name, value) in zip(figure.subplots(rows, columns, squeeze=False).flat, values.items(), strict=False):
        cells = PolyCollection(list(outlines), array=value.detach().float().cpu().numpy(), cmap="viridis")
        cells.set_edgecolor("face")
        axes.add_collection(cells)
        axes.autoscale_view()
        axes.set_aspect("equal")
        axes.set_title(name)
        figure.colorbar(cells, ax=axes, shrink=0.7)
    for axes in figure.axes[: rows * columns]:
        axes.set_axis_off()
    return render_figure(figure)


def _make_hexagon() -> Tensor:
    """Return the corners of a hexagon of width 1, one of them on top, (6, 2) float64."""
    angle = torch.arange(6, dtype=torch.float64) * math.pi / 3 + math.pi / 6
    return torch.stack([angle.cos(), angle.sin()], dim=1) / math.sqrt(3)
