"""A table of probabilities as a picture whose rows and columns have names."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dlx.figures import figures
from dlx.figures.axes import axes_of

SMALL, LARGE = 0.55, 0.28  # inches of a cell, with its number written in it or not
WRITTEN = 12  # columns, at most, of a table with numbers
WIDE, HIGH = 9.0, 6.0  # inches, at most, of all cells
NAMED = 64  # names of an axis, at most
SHOWN = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "␣"}  # characters that would not be seen


def heat(
    table: Tensor,
    title: str,
    across: str,
    down: str,
    columns: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
) -> Tensor:
    """Probabilities from white, 0, to dark blue, the largest; numbers stand in the cells of a small table. (3, H, W).

    Args:
        table: (R, C), not negative.
        title: above it.
        across, down: what columns and rows are.
        columns, rows: their names; None counts them from 0.
    """
    R, C = table.shape
    written = max(R, C) <= WRITTEN
    cell = SMALL if written else LARGE
    size = (min(C * cell, WIDE) + 1.9, min(max(R * cell, 0.8), HIGH) + 1.3)
    figure, axes = axes_of((max(size[0], 4.2), size[1]), title)
    axes.grid(False)
    axes.spines[["top", "right"]].set_visible(True)
    values = table.detach().double().cpu()
    top = max(float(values.max()), 1e-300)
    shades = axes.imshow(values.numpy(), cmap="Blues", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    _ticks(axes.xaxis, columns, C, 5 if written else 2)
    _ticks(axes.yaxis, rows, R)
    if written:
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                ink = "white" if value > 0.6 * top else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=10)
    else:
        figure.colorbar(shades, ax=axes, label="probability")
    return figures._drawn(figure)


def _ticks(axis: Any, names: Sequence[str] | None, number: int, room: int | None = None) -> None:
    """Names at an axis, turned where one has more characters than there is room for; else whole numbers."""
    from matplotlib.ticker import MaxNLocator

    if names is None or len(names) != number or number > NAMED:
        axis.set_major_locator(MaxNLocator(min(number, 16), integer=True))
        return
    shown = [SHOWN.get(name, name if len(name) <= 12 else name[:11] + "…") for name in names]
    turned = room is not None and max(map(len, shown)) > room
    axis.set_ticks(range(number), shown, rotation=90 if turned else 0)
