"""One sheet of several models: a panel of the same chart for each."""

import math
from collections.abc import Sequence

from torch import Tensor

from dlx.charts.chart import Chart
from dlx.charts.study import Study
from dlx.errors import UsageError
from dlx.figures.axes import make_panels
from dlx.figures.figures import render_figure


def draw_sheet(chart: Chart, studies: Sequence[Study], name: str) -> Tensor:
    """Draw a chart of each study in one sheet, (3, H, W).

    Raises:
        UsageError: the chart has several panels of its own, or does not fit one of the models.
    """
    if not chart.has_panel:
        raise UsageError(f"--figure {name} was given, which is no single panel; type dlx visualize RUN --method {name}")
    for study in studies:
        chart.check(study)
    columns = min(len(studies), 3 if len(studies) != 4 else 2)
    rows = math.ceil(len(studies) / columns)
    figure, axes = make_panels(rows, columns, chart.size)
    for study, place in zip(studies, axes, strict=False):
        place.set_title(study.title)
        chart.panel(study, place)
    for place in axes[len(studies) :]:
        place.set_visible(False)
    return render_figure(figure)
