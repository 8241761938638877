"""Graphs and lattices of units as pictures, (3, H, W) in [0, 1]."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlx.logs.figures import _axes, _drawn

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
    figure, axes = _axes((SIDE, SIDE) if images is None else (1.4 * SIDE, 1.4 * SIDE), title)
    if data is not None:
        seen = data.detach().float().cpu()
        seen = seen[seen.isfinite().all(1)]
        axes.scatter(*seen.T.numpy(), s=min(max(6000 / max(len(seen), 1), 4), 20), color="0.75", linewidths=0)
    pairs = edges.detach().cpu().triu(1).nonzero()
    axes.add_collection(LineCollection(list(at[pairs].numpy()), colors="C0", linewidths=1.4, zorder=2))
    if images is None:
        axes.scatter(*at.T.numpy(), s=min(max(2400 / max(len(at), 1), 10), 40), color="C3", linewidths=0, zorder=3)
    else:
        axes.scatter(*at.T.numpy(), s=0)  # for the limits
        axes.margins(0.06)
        axes.grid(False)
        _pictures(axes, at, images)
    axes.set_aspect("equal", adjustable="datalim")
    return _drawn(figure)


def _pictures(axes: Any, at: Tensor, images: Tensor) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    points = 72 * 1.4 * SIDE * min(0.10, 0.62 / math.sqrt(len(at)))  # on a side, 1/72 inch each
    for place, image in zip(at.tolist(), images.detach().float().cpu(), strict=True):
        pixels = image.permute(1, 2, 0).clamp(0, 1).numpy()
        box = OffsetImage(
            pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2),
            zoom=points / max(image.shape[1:]),
            interpolation="nearest",
        )
        frame = {"linewidth": 0.6, "edgecolor": "C0"}
        axes.add_artist(AnnotationBbox(box, tuple(place), pad=0.05, bboxprops=frame, zorder=3))


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
