"""`dlx runs --by`: group runs by some of their settings, and give each group's mean and standard deviation."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.metrics import Direction, parse_direction, split_direction
from dlx.runs.query import choose_key_metric, find_directions, resolve_direction
from dlx.runs.rundir import Run
from dlx.runs.saved import flatten, load_config
from dlx.sweeps import groups, objective
from dlx.sweeps.record import read_record
from dlx.terminal import terminal

COMPARABLE = ("dataset", "task", "dataset.path", "dataset.val", "dataset.test", "dataset.limit")  # else no mean is
RunsWithContent = Sequence[tuple[Run, dict[str, Any]]]  # runs, and the content of run.json


def print_groups(
    runs: RunsWithContent, keys: Sequence[str], metric: str | None, root: Path, as_json: bool, figure: Path | None
) -> None:
    """Print the groups as a table or as JSON, the best first, and draw them where that is asked for.

    Args:
        runs: the runs, and their run.json.
        keys: keys of run.json or of the configuration: `model`, `optimizer.lr`.
        metric: the metric to average; None takes what the sweep optimised, else the first run's key metric.
        root: the sweep's directory.
        as_json: print one JSON list instead of a table.
        figure: a file to draw the groups to.

    Raises:
        UsageError: there are no runs, or none has a key or the metric.
    """
    if not runs:
        raise UsageError(f"there is no run below {root}/ to group; type dlx sweep NAME …, or dlx train")
    record = read_record(root) if metric is None else None
    name, direction = (record.metric, parse_direction(record.mode)) if record else _choose_metric(runs, metric)
    rows = []
    for run, about in runs:
        is_finished = about.get("status") == "finished"
        metrics = about.get("metrics") or {}
        value = objective.get_final_value(metrics, name, record.own) if record else metrics.get(name)
        final = float(value) if is_finished and isinstance(value, int | float) else math.nan
        rows.append((_get_settings(run, about, keys), final, str(about.get("id"))))
    _check_keys(runs, keys, [settings for settings, _, _ in rows])
    for line in _list_pooled(runs, keys, [settings for settings, _, _ in rows]):
        terminal.print_note(line)
    grouped = groups.group_runs(
        [({key: _to_json_value(settings.get(key)) for key in keys}, value, name) for settings, value, name in rows],
        None if direction is None else direction == "min",
    )
    if figure is not None:
        from dlx.sweeps.figures import draw_groups

        draw_groups(grouped, name, figure)
        terminal.print_note(f"drawn to {figure}")
    if as_json:
        terminal.print_json([group.to_dict(name) for group in grouped])
    else:
        terminal.print_table(groups.make_rows(grouped, name))


def _list_pooled(runs: RunsWithContent, keys: Sequence[str], settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each thing that makes metrics incomparable and differs within a group."""
    lines = []
    for name in COMPARABLE:
        if name in keys:
            continue
        found: dict[str, set[str]] = {}
        for (run, about), own in zip(runs, settings, strict=True):
            value = _get_settings(run, about, [name]).get(name)
            if value is not None:
                found.setdefault(repr(sorted((key, str(own.get(key))) for key in keys)), set()).add(str(value))
        mixed = sorted(set().union(*(values for values in found.values() if len(values) > 1)))
        if mixed:
            by = ",".join([*keys, name])
            lines.append(f"a mean over different {name}: {', '.join(mixed)}; type --by {by} to keep them apart")
    return lines


def _choose_metric(runs: RunsWithContent, given: str | None) -> tuple[str, Direction | None]:
    """Return the metric's name and direction; None for one that nobody declared and nobody asked for."""
    metric, typed = split_direction("--best", given) if given else (None, None)
    contents = [about for _, about in runs]
    names = sorted({name for about in contents for name in about.get("metrics") or {}})
    name = metric or next((known for about in contents if (known := choose_key_metric(about))), None)
    if name is None or name not in names:
        typed_text = f"--best {name} was given; " if name else ""
        raise UsageError(f"{typed_text}these runs have {', '.join(names) or 'no metrics yet'}")
    if metric:
        return name, resolve_direction(name, typed, contents)
    found = find_directions(name, contents)
    return name, next(iter(found)) if len(found) == 1 else None


def _get_settings(run: Run, about: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a run's values of the keys: a config group's choice by its name, else what the configuration says."""
    settings = {key: about[key] for key in keys if isinstance(about.get(key), str | int | float | bool)}
    if len(settings) < len(keys):
        known = flatten(load_config(run))
        settings.update({key: known[key] for key in keys if known.get(key, {}) != {} and key not in settings})
    return settings


def _check_keys(runs: RunsWithContent, keys: Sequence[str], settings: Sequence[dict[str, Any]]) -> None:
    """Refuse a key that none of the runs has; where some have it, the others go without."""
    for key in keys:
        if not any(key in one for one in settings):
            known = {name: None for run, about in runs for name in [*about, *flatten(load_config(run))]}
            inner = [name for name in known if name.startswith(f"{key}.")]
            near = difflib.get_close_matches(key, inner or known, n=1) or inner[:1]
            hint = f"did you mean {near[0]}?" if near else "type dlx compare RUN to see its keys"
            raise UsageError(f"--by {key} was given; no run has such a key; {hint}")


def _to_json_value(value: Any) -> Any:
    """Return a value as a scalar that JSON can hold."""
    return value if isinstance(value, str | int | float | bool | None) else str(value).replace(" ", "")
