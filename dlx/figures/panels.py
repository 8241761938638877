"""Tables of numbers over time, one below the other: what goes into a network, what comes out, what happens between."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dlx.figures import figures

WIDTH = 7.2  # inches of a column
ROW = 0.09  # inches of a table's row, where all are to be told apart
LEAST, MOST, MOST_OF_MANY = 0.5, 2.6, 5.2  # inches of a table; of one of more than MANY rows
MANY = 150
GAP = 0.5  # inches from a table to the next
ONE = 3  # tables that stand in one column


def panels(tables: Mapping[str, Tensor], title: str = "") -> Tensor:
    """Tables with one time axis, (3, H, W).

    Zeros to ones are drawn from white to black; tables with other numbers from blue (below 0) over white to red. What
    is NaN stays grey: nothing is there.

    Args:
        tables: by name, (rows, T) each, from top to bottom; more than ONE of them in two columns, both filled.
        title: above all.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names, heights = list(tables), [_height(table) for table in tables.values()]
    cut = _cut(heights)
    columns = [column for column in (range(cut), range(cut, len(names))) if column]
    figure = Figure(
        figsize=(WIDTH * len(columns), max(sum(heights[i] + GAP for i in column) for column in columns) + 0.4),
        dpi=110,
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05),
    )
    sides = figure.add_gridspec(1, len(columns))
    for j, column in enumerate(columns):
        side = sides[j].subgridspec(len(column), 1, height_ratios=[heights[i] for i in column])
        places = side.subplots(squeeze=False)
        for i, axes in zip(column, places[:, 0], strict=True):
            _draw(axes, names[i], tables[names[i]].detach().float().cpu(), last=i == column[-1])
    figure.suptitle(title, fontsize=11)
    return figures._drawn(figure)


def _height(table: Tensor) -> float:
    return min(max(len(table) * ROW, LEAST), MOST if len(table) <= MANY else MOST_OF_MANY)


def _cut(heights: Sequence[float]) -> int:
    """How many of the tables the first column takes, so that the higher one is as low as it can be."""
    if len(heights) <= ONE:
        return len(heights)
    spans = [height + GAP for height in heights]
    return min(range(1, len(spans)), key=lambda n: max(sum(spans[:n]), sum(spans[n:])))


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
