"""Tables of numbers over time, one below the other: what goes into a network, what comes out, what happens between."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dlx.logs import figures

WIDTH = 7.2  # inches of a column
ROW = 0.09  # inches of a table's row, where all are to be told apart
LEAST, MOST, MOST_OF_MANY = 0.5, 2.6, 5.2  # inches of a table; of one of more than MANY rows
MANY = 150


def panels(columns: list[Mapping[str, Tensor]], title: str = "") -> Tensor:
    """Tables with one time axis, (3, H, W).

    Zeros to ones are drawn from white to black; tables with other numbers from blue (below 0) over white to red. What
    is NaN stays grey: nothing is there.

    Args:
        columns: tables by name, (rows, T) each, from top to bottom; the columns stand side by side.
        title: above all.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    deep = max(map(len, columns))
    heights = [max(_height(list(column.values())[i]) for column in columns if i < len(column)) for i in range(deep)]
    figure = Figure(
        figsize=(WIDTH * len(columns), sum(heights) + 0.5 * deep + 0.4),
        dpi=110,
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05),
    )
    places = figure.subplots(deep, len(columns), squeeze=False, height_ratios=heights)
    for j, column in enumerate(columns):
        for i in range(deep):
            if i < len(column):
                name, table = list(column.items())[i]
                _draw(places[i, j], name, table.detach().float().cpu(), last=i == len(column) - 1)
            else:
                places[i, j].set_axis_off()
    figure.suptitle(title, fontsize=11)
    return figures._drawn(figure)


def _height(table: Tensor) -> float:
    return min(max(len(table) * ROW, LEAST), MOST if len(table) <= MANY else MOST_OF_MANY)


def _draw(axes: Any, name: str, table: Tensor, last: bool) -> None:
    from matplotlib import colormaps

    known = table[~table.isnan()]
    low, far = (float(known.min()), float(known.abs().max())) if len(known) else (0.0, 1.0)
    colours, least, most = ("Greys", 0.0, max(far, 1.0)) if low >= 0 else ("RdBu_r", -far, far)
    shades = colormaps[colours].with_extremes(bad="0.85")
    axes.imshow(table.numpy(), aspect="auto", interpolation="nearest", cmap=shades, vmin=least, vmax=most)
    axes.set_ylabel(name, fontsize=9)
    axes.set_yticks([])
    axes.tick_params(labelsize=8, labelbottom=last)
    if last:
        axes.set_xlabel("step", fontsize=9)


def asked(y: Tensor) -> Tensor:
    """Targets (T, outputs) as a table (outputs, T): NaN where they are negative."""
    return torch.where(y < 0, math.nan, y).T
