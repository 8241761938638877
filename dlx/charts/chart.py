"""The contract of a chart, and how a name becomes one."""

import importlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from dlx.charts import CHARTS
from dlx.charts.study import Study
from dlx.errors import UsageError


@dataclass
class Drawing:
    """What a chart drew and wrote."""

    pictures: dict[str, Tensor]  # (3, H, W) in [0, 1], by name
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # rows by name, for the screen and a CSV file
    texts: dict[str, str] = field(default_factory=dict)  # by name, for a text file


class Chart:
    """Draws a model's answers on a split. A chart of one panel implements `panel`, any other one `draw`."""

    size: ClassVar[tuple[float, float]] = (6.4, 5.2)  # of a panel, in inches

    def check(self, study: Study) -> None:
        """Refuse a model or a dataset that the chart cannot draw.

        Raises:
            UsageError: the message says what is needed, and what to type.
        """

    def panel(self, study: Study, axes: Any) -> None:
        """Draw into matplotlib's axes, whose title is set already."""
        raise NotImplementedError

    def draw(self, study: Study, name: str) -> Drawing:
        """Draw; pictures are called `name`, or `name/part` where there are several."""
        from dlx.figures.axes import make_axes
        from dlx.figures.figures import render_figure

        figure, axes = make_axes(self.size, study.title)
        self.panel(study, axes)
        return Drawing({name: render_figure(figure)})

    @property
    def has_panel(self) -> bool:
        """Whether it draws into one panel, so that several models can stand side by side."""
        return type(self).panel is not Chart.panel


def load_chart(name: str) -> Chart:
    """Return the chart of a name, or of a class of the user's own.

    Raises:
        UsageError: there is no such class, or it is no chart.
    """
    module, _, attribute = CHARTS.get(name, name).rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"--method {name} was given; it cannot be imported ({error}); needed: MODULE.CLASS, a chart of your own "
            f"beside ./conf, or one of {', '.join(CHARTS)}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Chart)):
        raise UsageError(f"--method {name} was given; needed: a class that derives from dlx.charts.chart.Chart")
    return kind()
