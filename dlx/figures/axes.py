"""Make matplotlib axes in dlx's style, without torch."""

from typing import Any


def make_axes(size: tuple[float, float], title: str) -> tuple[Any, Any]:
    """Return a new figure, its size in inches, and its axes; pyplot's global state is not touched."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=size, dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title)
    return figure, axes


def make_panels(rows: int, columns: int, size: tuple[float, float], title: str = "") -> tuple[Any, list[Any]]:
    """Return a new figure and the axes of its panels, row by row; `size` is one panel's, in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = size
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(columns * width, rows * height), dpi=100, layout=layout)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    if title:
        figure.suptitle(title)
    return figure, panels
