"""Plot tables of numbers over time, one below the other: a network's inputs, its outputs and its inner states."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dlx.figures import figures

WIDTH = 7.2  # inches of a column
ROW_HEIGHT = 0.09  # inches of a table's row, enough to tell rows apart
MIN_HEIGHT, MAX_HEIGHT, MAX_HEIGHT_OF_MANY = 0.5, 2.6, 5.2  # inches of a table; of one of more than MANY_ROWS
MANY_ROWS = 150
GAP = 0.5  # inches from a table to the next
MAX_SINGLE_COLUMN = 3  # tables in one column


def plot_panels(tables: Mapping[str, Tensor], title: str = "") -> Tensor:
    """Plot tables with a common time axis, (3, H, W).

    Tables without negative numbers are drawn from white to black, others from blue (below 0) over white to red. NaN is
    grey: there is no value.

    Args:
        tables: by name, (rows, T) each, from top to bottom; more than MAX_SINGLE_COLUMN of them in two columns.
        title: above all tables.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names, heights = list(tables), [_choose_height(table) for table in tables.values()]
    cut = _split_columns(heights)
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
            _draw_table(axes, names[i], tables[names[i]].detach().float().cpu(), last=i == column[-1])
    figure.suptitle(title, fontsize=11)
    return figures.render_figure(figure)


def _choose_height(table: Tensor) -> float:
    return min(max(len(table) * ROW_HEIGHT, MIN_HEIGHT), MAX_HEIGHT if len(table) <= MANY_ROWS else MAX_HEIGHT_OF_MANY)


def _split_columns(heights: Sequence[float]) -> int:
    """Return how many tables to put into the first column, so that the higher column is as low as possible."""
    if len(heights) <= MAX_SINGLE_COLUMN:
        return len(heights)
    spans = [height + GAP for height in heights]
    return min(range(1, len(spans)), key=lambda n: max(sum(spans[:n]), sum(spans[n:])))


def _draw_table(axes: Any, name: str, table: Tensor, last: bool) -> None:
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


def mask_negative(y: Tensor) -> Tensor:
    """Turn targets (T, outputs) into a table (outputs, T), NaN where they are negative."""
    return torch.where(y < 0, math.nan, y).T
