"""Figures of several runs, for `dlx compare --figure`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlx.charts import CHARTS
from dlx.config.report import find_closest
from dlx.errors import UsageError
from dlx.runs.rundir import Run

VALIDATION_CURVE = "validation_curve"
DEFAULT_FILE = "compare_{}.png"


def check_figure(name: str) -> None:
    """Refuse the name of a figure that is none, before torch is imported.

    Raises:
        UsageError: with the names that there are.
    """
    known = (*CHARTS, VALIDATION_CURVE)
    if name not in known and "." not in name:
        near = find_closest(name, known)
        guess = f"did you mean {near}? " if near else ""
        raise UsageError(
            f"--figure {name} was given; {guess}needed: one of {', '.join(known)}, or your own, MODULE.CLASS"
        )


def draw_figure(
    name: str,
    found: Sequence[Run],
    about: Sequence[dict[str, Any]],
    output: Path | None,
    against: str | None = None,
    metric: str | None = None,
) -> Path:
    """Draw a chart of every run's model on its test split, or the validation curve, into one PNG file; return the file.

    Raises:
        UsageError: the chart does not fit a model, or the file cannot be written.
    """
    from dlx.figures.figures import save_png

    if name == VALIDATION_CURVE:
        from dlx.cli.validation_curve import draw_validation_curve

        picture = draw_validation_curve(found, against, metric)
    else:
        picture = _draw_sheet(name, found, about)
    path = output or Path(DEFAULT_FILE.format(name.rpartition(".")[2].lower()))
    try:
        save_png(path, picture)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another file") from error
    return path


def _draw_sheet(name: str, found: Sequence[Run], about: Sequence[dict[str, Any]]) -> Any:
    from dlx.charts.chart import load_chart
    from dlx.charts.sheet import draw_sheet
    from dlx.charts.study import Study
    from dlx.parts import load_trained
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.terminal.visible import make_visible

    chart = load_chart(name)
    studies = []
    for run, one in zip(found, about, strict=True):
        parts, _ = load_trained(run, load_trusted_config(run, [], INFERENCE_KEYS, "compare"))
        title = make_visible(" · ".join(str(one[key]) for key in ("model", "dataset") if one.get(key)))
        studies.append(Study(parts.model, parts.dataset, parts.dataset.held_out, parts.trainer.device, title))
    return draw_sheet(chart, studies, name)


def find_finished(sweep: str) -> list[Run]:
    """Return the finished runs of a sweep, or of a multirun's directory.

    Raises:
        UsageError: there is no such sweep, or none of its runs has finished.
    """
    from dlx.cli.commands.runs import find_sweep
    from dlx.runs.rundir import read_runs

    found = [run for run, about in read_runs(find_sweep(sweep)) if about.get("status") == "finished"]
    if not found:
        raise UsageError(f"--sweep {sweep} was given; none of its runs has finished; type dlx runs --sweep {sweep}")
    return found
