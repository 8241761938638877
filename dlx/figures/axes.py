"""Axes of a figure as all of dlx's look; no torch."""

from typing import Any


def axes_of(size: tuple[float, float], title: str) -> tuple[Any, Any]:
    """A figure of our own, in inches, and its axes: matplotlib's state for windows stays untouched."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=size, dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title)
    return figure, axes
