"""Figures of a sweep, in its `figures/`: its history, parallel coordinates and the importance of each key."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlx.errors import UsageError
from dlx.figures.axes import make_axes
from dlx.runs.atomic import write_atomically
from dlx.sweeps.groups import Group
from dlx.sweeps.space import Numbers
from dlx.sweeps.study import Study
from dlx.terminal import terminal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SIZE, INK = (7.2, 4.5), "#222222"


def draw_figures(study: Study, trials: "Sequence[FrozenTrial]") -> list[Path]:
    """Draw all figures that the finished trials allow. Returns the files."""
    finished = [one for one in trials if one.state.name == "COMPLETE"]
    drawn = {"history": _draw_history(study, trials)}
    if len(finished) > 1 and len(study.space.dimensions) > 1:
        drawn["parallel_coordinates"] = _draw_parallel_coordinates(study, finished)
    weights = compute_importance(study, finished)
    if weights:
        drawn["importance"] = _draw_importance(study, weights)
    folder = study.directory / "figures"
    folder.mkdir(exist_ok=True)
    files = []
    for name, figure in drawn.items():
        files.append(_save(figure, folder / f"{name}.png"))
    return files


def _save(figure: Any, file: Path) -> Path:
    """Write a figure in the format of the file's suffix. Returns the file."""
    out = io.BytesIO()
    figure.savefig(out, format=file.suffix[1:], dpi=120)
    write_atomically(file, out.getvalue())
    return file


def compute_importance(study: Study, finished: "Sequence[FrozenTrial]") -> dict[str, float]:
    """Return each key's share of the metric's variance (fANOVA), summing to one; empty for too few trials."""
    varying = [d.name for d in study.space.dimensions if len({str(one.params[d.name]) for one in finished}) > 1]
    if len(finished) < 4 or len(varying) < 2 or len({one.value for one in finished}) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    evaluator = FanovaImportanceEvaluator(seed=study.record.seed)
    return dict(get_param_importances(study.optuna_study, evaluator=evaluator, params=varying))


def _draw_history(study: Study, trials: "Sequence[FrozenTrial]") -> Any:
    """Draw every trial's value in turn, the best so far, and the trials without a value."""
    figure, axes = make_axes(SIZE, f"{study.directory.name}: {study.record.metric}")
    finished = [one for one in trials if one.state.name == "COMPLETE" and one.value is not None]
    values = [one.value or 0.0 for one in finished]
    better = max if study.record.mode == "max" else min
    best = [better(values[: i + 1]) for i in range(len(values))]
    numbers, last = [one.number for one in finished], max(one.number for one in trials)
    axes.scatter(numbers, values, s=22, color="C0", linewidths=0, label="trials")
    axes.step([*numbers, last], [*best, best[-1]], where="post", color="C1", linewidth=1.8, label="best so far")
    axes.set_xlim(-0.5, last + 0.5)  # matplotlib leaves the marks at the lower edge out of the limits
    for state, marker in (("PRUNED", "|"), ("FAIL", "x")):
        numbers_in_state = [one.number for one in trials if one.state.name == state]
        if numbers_in_state:
            place = axes.get_xaxis_transform()  # at the lower edge, whatever the scale
            label = {"PRUNED": "pruned", "FAIL": "failed"}[state]
            axes.scatter(
                numbers_in_state,
                [0.03] * len(numbers_in_state),
                s=30,
                color=INK,
                marker=marker,
                transform=place,
                label=label,
            )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel(study.record.metric)
    axes.legend(frameon=False)
    return figure


def _draw_importance(study: Study, weights: dict[str, float]) -> Any:
    """Draw the keys' shares of the variance as bars."""
    names = sorted(weights, key=lambda name: weights[name])
    figure, axes = make_axes(
        (7.2, 1.4 + 0.4 * len(names)), f"{study.directory.name}: what {study.record.metric} depends on"
    )
    bars = axes.barh(names, [weights[name] for name in names], color="C0", height=0.6)
    axes.bar_label(bars, [f"{weights[name]:.2f}" for name in names], padding=3)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("share of the variance explained (fANOVA)")
    return figure


def _draw_parallel_coordinates(study: Study, finished: "Sequence[FrozenTrial]") -> Any:
    """Draw a line for each trial through its settings, coloured by its value, the good ones on top."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    dimensions = study.space.dimensions
    columns = [_scale_to_axis(one, [trial.params[one.name] for trial in finished]) for one in dimensions]
    figure, axes = make_axes(
        (max(7.2, 1.9 * len(columns)), 4.5), f"{study.directory.name}: {study.record.metric} of {len(finished)} trials"
    )
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    values = [trial.value or 0.0 for trial in finished]
    scale = Normalize(min(values), max(values) if max(values) > min(values) else min(values) + 1)
    colours = colormaps["viridis" if study.record.mode == "max" else "viridis_r"]
    sign = 1 if study.record.mode == "max" else -1
    for row in sorted(range(len(finished)), key=lambda i: sign * values[i]):
        heights = [places[row] for places, _ in columns]
        axes.plot(range(len(columns)), heights, color=colours(scale(values[row])), alpha=0.8, linewidth=1.4)
    for x, (_, marks) in enumerate(columns):
        axes.axvline(x, color=INK, linewidth=0.8)
        for height, text in marks:
            axes.annotate(text, (x, height), (5, 0), textcoords="offset points", va="center", fontsize=8, color=INK,
                          bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7})  # fmt: skip
    axes.set_xticks(range(len(columns)), [one.name for one in dimensions])
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 1 + 0.45)
    figure.colorbar(ScalarMappable(scale, colours), ax=axes, label=study.record.metric, pad=0.02)
    return figure


def _scale_to_axis(dimension: Any, values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Scale values to heights in [0, 1] along one axis. Returns the heights, and the axis' marks with their texts."""
    if isinstance(dimension, Numbers):
        scale = math.log10 if dimension.log else float
        low, high = scale(dimension.low), scale(dimension.high)
        marks = [low + (high - low) * share for share in (0, 0.25, 0.5, 0.75, 1)]
        decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        if dimension.log and len(decades) > 2:
            marks = [float(power) for power in decades]
        texts = [terminal.format_cell(float(f"{10**mark if dimension.log else mark:.3g}")) for mark in marks]
        span = high - low or 1
        return [(scale(v) - low) / span for v in values], [
            ((mark - low) / span, text) for mark, text in zip(marks, texts, strict=True)
        ]
    places = {value: (i + 0.5) / len(dimension.values) for i, value in enumerate(dimension.values)}
    return [places[value] for value in values], [(height, str(value)) for value, height in places.items()]


def draw_groups(groups: Sequence[Group], metric: str, file: Path, max_groups: int = 30) -> None:
    """Draw mean and standard deviation of groups, the best on top, and every run as a dot.

    Raises:
        UsageError: the file's suffix is none of .png, .pdf and .svg.
    """
    if file.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--figure {file} was given; needed: .png, .pdf or .svg; type --figure {file.stem}.png")
    shown = [group for group in groups if group.values][:max_groups]
    names = [
        "  ".join(f"{key.rpartition('.')[2]}={terminal.format_cell(v)}" for key, v in g.settings.items()) for g in shown
    ]
    figure, axes = make_axes((7.2, 1.4 + 0.34 * len(shown)), metric)
    for row, group in enumerate(shown):
        axes.errorbar(group.mean, row, xerr=group.std or 0, fmt="o", color="C0", capsize=4, markersize=6, linewidth=1.6)
        axes.scatter(group.values, [row] * len(group.values), s=10, color=INK, alpha=0.5, linewidths=0, zorder=3)
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"{metric}, mean ± standard deviation")
    file.parent.mkdir(parents=True, exist_ok=True)
    _save(figure, file)
