"""Plot a table of probabilities with named rows and columns."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dlx.figures import figures
from dlx.figures.axes import make_axes

NUMBERED_CELL, PLAIN_CELL = 0.55, 0.28  # inches of a cell, with its number written in it or not
MAX_NUMBERED = 12  # rows and columns of a table with numbers in its cells
MAX_WIDTH, MAX_HEIGHT = 9.0, 6.0  # inches, at most, of all cells
MAX_NAMES = 64  # of an axis
VISIBLE_CHARACTERS = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "␣"}  # for characters that are invisible


def plot_heatmap(
    table: Tensor,
    title: str,
    across: str,
    down: str,
    columns: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
) -> Tensor:
    """Plot probabilities from white, 0, to dark blue, the largest, with numbers in a small table's cells: (3, H, W).

    Args:
        table: (R, C), not negative.
        title: above the table.
        across, down: labels of the axes.
        columns, rows: names of the columns and rows; None numbers them from 0.
    """
    R, C = table.shape
    written = max(R, C) <= MAX_NUMBERED
    cell = NUMBERED_CELL if written else PLAIN_CELL
    size = (min(C * cell, MAX_WIDTH) + 1.9, min(max(R * cell, 0.8), MAX_HEIGHT) + 1.3)
    figure, axes = make_axes((max(size[0], 4.2), size[1]), title)
    axes.grid(False)
    axes.spines[["top", "right"]].set_visible(True)
    values = table.detach().double().cpu()
    top = max(float(values.max()), 1e-300)
    shades = axes.imshow(values.numpy(), cmap="Blues", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    _set_ticks(axes.xaxis, columns, C, 5 if written else 2)
    _set_ticks(axes.yaxis, rows, R)
    if written:
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                ink = "white" if value > 0.6 * top else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=10)
    else:
        figure.colorbar(shades, ax=axes, label="probability")
    return figures.render_figure(figure)


def _set_ticks(axis: Any, names: Sequence[str] | None, number: int, room: int | None = None) -> None:
    """Label an axis with names, turned where one has more than `room` characters; with whole numbers if None."""
    from matplotlib.ticker import MaxNLocator

    if names is None or len(names) != number or number > MAX_NAMES:
        axis.set_major_locator(MaxNLocator(min(number, 16), integer=True))
        return
    shown = [VISIBLE_CHARACTERS.get(name, name if len(name) <= 12 else name[:11] + "…") for name in names]
    turned = room is not None and max(map(len, shown)) > room
    axis.set_ticks(range(number), shown, rotation=90 if turned else 0)
