"""Graphs and lattices of units as pictures, (3, H, W) in [0, 1]."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dlx.figures.axes import axes_of
from dlx.figures.figures import _drawn

SIDE = 6.4  # inches


def network(
    places: Tensor, edges: Tensor, data: Tensor | None = None, images: Tensor | None = None, title: str = ""
) -> Tensor:
    """Units in the plane, and lines between those that are joined.

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
        return _gallery(at, pairs, images, title)
    figure, axes = axes_of((SIDE, SIDE), title)
    if data is not None:
        seen = data.detach().float().cpu()
        seen = seen[seen.isfinite().all(1)]
        axes.scatter(*seen.T.numpy(), s=min(max(6000 / max(len(seen), 1), 4), 20), color="0.75", linewidths=0)
    axes.add_collection(LineCollection(list(at[pairs].numpy()), colors="C0", linewidths=1.4, zorder=2))
    axes.scatter(*at.T.numpy(), s=min(max(2400 / max(len(at), 1), 10), 40), color="C3", linewidths=0, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    return _drawn(figure)


def _gallery(at: Tensor, pairs: Tensor, images: Tensor, title: str) -> Tensor:
    """Images in their places, moved apart as far as they would hide one another."""
    from matplotlib.collections import LineCollection

    size = min(0.09, 0.62 / math.sqrt(len(at)))  # of an image, as a part of the picture's width
    span = (at.amax(0) - at.amin(0)).amax().clamp(min=1e-12)
    middle = (at.amax(0) + at.amin(0)) / 2
    at = apart((at - middle) / span * (0.98 - size), 1.12 * size)
    figure, axes = axes_of((1.25 * SIDE, 1.25 * SIDE), title)
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
    return _drawn(figure)


def apart(places: Tensor, gap: float, rounds: int = 200) -> Tensor:
    """Places (n, 2) moved until no two squares of side `gap` overlap, or as far as so many rounds come."""
    at = places.double()
    at = at + 1e-6 * torch.linspace(-1, 1, at.numel(), dtype=at.dtype).view_as(
        at
    )  # those in one place know where to go
    for _ in range(rounds):
        between = at[:, None] - at[None]
        overlap = (gap - between.abs()).clamp(min=0)
        near = overlap.amin(2) > 1e-9
        near.fill_diagonal_(False)
        if not near.any():
            break
        along = overlap.argmin(2, keepdim=True)  # the shorter way out
        push = torch.zeros_like(between).scatter_(2, along, (between.sign() * overlap).gather(2, along))
        at = at + 0.4 * (push * near[..., None]).sum(1)
    return at.to(places.dtype)


def cells(places: Tensor, values: Mapping[str, Tensor], hexagonal: bool = False) -> Tensor:
    """A lattice of cells, coloured by value; once for each name, side by side, each with its own scale.

    Args:
        places: of the units on the lattice, (units, 2), neighbours 1 apart.
        values: by name, (units,).
        hexagonal: cells of six sides instead of four.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    at = places.detach().double().cpu()
    corners = _hexagon() if hexagonal else torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    outlines = (at[:, None] + corners).numpy()  # (units, corners, 2)
    columns = math.ceil(math.sqrt(len(values)))
    rows = math.ceil(len(values) / columns)
    side = SIDE if len(values) == 1 else 3.2
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(side * columns, side * rows), dpi=120, layout=layout)
    for axes, (name, value) in zip(figure.subplots(rows, columns, squeeze=False).flat, values.items(), strict=False):
        drawn = PolyCollection(list(outlines), array=value.detach().float().cpu().numpy(), cmap="viridis")
        drawn.set_edgecolor("face")
        axes.add_collection(drawn)
        axes.autoscale_view()
        axes.set_aspect("equal")
        axes.set_title(name)
        figure.colorbar(drawn, ax=axes, shrink=0.7)
    for axes in figure.axes[: rows * columns]:
        axes.set_axis_off()
    return _drawn(figure)


def _hexagon() -> Tensor:
    """Corners of a cell 1 wide, one of them on top, (6, 2) float64."""
    angle = torch.arange(6, dtype=torch.float64) * math.pi / 3 + math.pi / 6
    return torch.stack([angle.cos(), angle.sin()], dim=1) / math.sqrt(3)
