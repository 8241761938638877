"""The validation curve: a metric on the training and validation splits against the one number that runs differ in."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlx.errors import UsageError
from dlx.runs.rundir import Run

FREE = ("seed", "random_state")  # runs that differ in these alone are repetitions
LOG_RATIO = 20.0  # of the largest to the smallest number, from which a logarithmic axis is considered


def find_number(configs: Sequence[dict[str, Any]], key: str | None) -> str:
    """Return the key of the one number in which runs differ, beside their seeds.

    Args:
        configs: of the runs, flattened.
        key: typed; None looks for it.

    Raises:
        UsageError: there is none, or several.
    """
    keys = dict.fromkeys(name for config in configs for name in config)
    differing = [
        name for name in keys if not name.endswith(FREE) and len({str(config.get(name)) for config in configs}) > 1
    ]
    numbers = [name for name in differing if all(_is_number(config.get(name)) for config in configs)]
    if key is not None and key not in numbers:
        raise UsageError(f"--against {key} was given; the numbers in which these runs differ are {numbers or 'none'}")
    others = [name for name in differing if name != (key or (numbers[0] if len(numbers) == 1 else None))]
    if key is None and len(numbers) != 1:
        raise UsageError(
            f"--figure validation_curve needs runs that differ in one number; these differ in "
            f"{', '.join(differing) or 'nothing'}"
            + (f"; type --against {numbers[0]}" if numbers else "; try dlx sweep NAME KEY=log(1e-4,1)")
        )
    if key is None and others:
        raise UsageError(
            f"--figure validation_curve needs runs that differ in one number only; beside {numbers[0]} these differ in "
            f"{', '.join(others)}; choose among them, or type --against {numbers[0]} for the mean over these"
        )
    return key or numbers[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Tell whether numbers lie more evenly on a logarithmic axis: positive, far apart, and centred there."""
    numbers = np.array(sorted(set(values)), dtype=float)
    if len(numbers) < 3 or numbers[0] <= 0 or numbers[-1] / numbers[0] < LOG_RATIO:
        return False

    def skew(places: np.ndarray) -> float:
        return abs(float(places.mean() - (places[0] + places[-1]) / 2)) / float(np.ptp(places))

    return skew(np.log(numbers)) < skew(numbers)


def measure_runs(found: Sequence[Run], metric: str | None) -> tuple[str, list[tuple[float, float]]]:
    """Return the metric's name, and its value on the training and the validation split for each run's best model.

    Raises:
        UsageError: a run's task has no such metric, or its data no validation split.
    """
    from dlx.parts import load_trained
    from dlx.runs.saved import INFERENCE_KEYS
    from dlx.runs.trust import load_trusted_config
    from dlx.trained.trained import measure

    values = []
    for run in found:
        parts, _ = load_trained(run, load_trusted_config(run, [], INFERENCE_KEYS, "compare"))
        name = (metric or parts.task.monitor or "loss").rpartition("/")[2]
        both = [measure(parts, split).get(f"{split}/{name}") for split in ("train", "val")]
        if both[0] is None or both[1] is None:
            raise UsageError(f"{run.directory} does not measure {name}; type --curve with a metric that it measures")
        metric = name
        values.append((both[0], both[1]))
    return str(metric), values


def draw_validation_curve(found: Sequence[Run], key: str | None, metric: str | None) -> Any:
    """Draw the curve, (3, H, W): means over runs of the same number, and bands of ± their standard deviation.

    Raises:
        UsageError: the runs differ in something else than one number.
    """
    from sklearn.model_selection import ValidationCurveDisplay

    from dlx.figures.axes import make_axes
    from dlx.figures.figures import render_figure
    from dlx.runs.saved import flatten, load_config

    configs = [flatten(load_config(run)) for run in found]
    key = find_number(configs, key)
    name, values = measure_runs(found, metric)
    numbers = sorted({float(config[key]) for config in configs})
    by_number: dict[float, list[tuple[float, float]]] = {number: [] for number in numbers}
    for config, pair in zip(configs, values, strict=True):
        by_number[float(config[key])].append(pair)
    most = max(map(len, by_number.values()))
    table = np.full((2, len(numbers), most), np.nan)
    for row, number in enumerate(numbers):
        for column, pair in enumerate(by_number[number]):
            table[:, row, column] = pair
    scores = np.ma.masked_invalid(table)  # some numbers may have been tried more often than others
    about = found[0].read()
    title = " · ".join(str(about[part]) for part in ("model", "dataset") if about.get(part))
    figure, axes = make_axes((7.4, 4.8), f"{title} · {len(found)} runs" + ("; bands: ± sd" if most > 1 else ""))
    display = ValidationCurveDisplay(
        param_name=key, param_range=np.array(numbers), train_scores=scores[0], test_scores=scores[1], score_name=name
    )
    display.plot(ax=axes, score_name=name, std_display_style="fill_between" if most > 1 else None,
                 line_kw={"marker": "o"})  # fmt: skip
    logarithmic = is_logarithmic(numbers)
    axes.set_xscale("log" if logarithmic else "linear")
    axes.set_xlabel(key + (" (logarithmic)" if logarithmic else ""))
    axes.legend(axes.get_legend_handles_labels()[0], ["train", "val"], frameon=False)
    return render_figure(figure)
