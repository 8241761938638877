"""`dlx runs --by`: runs grouped by some of their settings, mean and standard deviation of each group."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.runs.query import key_metric
from dlx.runs.rundir import Run
from dlx.runs.saved import config_of, flat
from dlx.sweeps import groups, objective
from dlx.sweeps.record import read
from dlx.terminal import terminal

Found = Sequence[tuple[Run, dict[str, Any]]]  # runs, and the content of run.json


def table(
    found: Found, keys: Sequence[str], metric: str | None, root: Path, as_json: bool, figure: Path | None
) -> None:
    """Print the groups, the best first.

    Args:
        found: the runs.
        keys: of run.json or the configuration: `model`, `optimizer.lr`.
        metric: what is averaged; None takes what the sweep optimised, else what stands for the first run.
        root: the sweep's directory.
        as_json: print one JSON list instead.
        figure: a file to draw them to.

    Raises:
        UsageError: a key or the metric is not there.
    """
    if not found:
        raise UsageError(f"there is no run below {root}/ to group; type dlx sweep NAME …, or dlx train")
    record = read(root) if metric is None else None
    name, least = (record.metric, record.mode == "min") if record else _metric(found, metric)
    rows = []
    for run, about in found:
        done = about.get("status") == "finished"
        metrics = about.get("metrics") or {}
        value = objective.value(metrics, name, record.own) if record else metrics.get(name)
        shown = float(value) if done and isinstance(value, int | float) else math.nan
        rows.append((_settings(run, about, keys), shown, str(about.get("id"))))
    _check(found, keys, [settings for settings, _, _ in rows])
    made = groups.grouped(
        [({key: _plain(settings.get(key)) for key in keys}, value, name) for settings, value, name in rows], least
    )
    if figure is not None:
        from dlx.sweeps.figures import bars

        bars(made, name, figure)
        terminal.print_note(f"drawn to {figure}")
    if as_json:
        terminal.print_json([group.document(name) for group in made])
    else:
        terminal.print_table(groups.rows(made, name))


def _metric(found: Found, metric: str | None) -> tuple[str, bool]:
    """The metric's name, and whether less is better."""
    names = sorted({name for _, about in found for name in about.get("metrics") or {}})
    name = metric or next((known for _, about in found if (known := key_metric(about.get("metrics") or {}))), None)
    if name is None or name not in names:
        given = f"--best {name} was given; " if name else ""
        raise UsageError(f"{given}these runs have {', '.join(names) or 'no metrics yet'}")
    return name, objective.lower(name)


def _settings(run: Run, about: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What a run has of the keys: a group's choice by its name, else what the configuration says."""
    settings = {key: about[key] for key in keys if isinstance(about.get(key), str | int | float | bool)}
    if len(settings) < len(keys):
        known = flat(config_of(run))
        settings.update({key: known[key] for key in keys if key in known and key not in settings})
    return settings


def _check(found: Found, keys: Sequence[str], settings: Sequence[dict[str, Any]]) -> None:
    """Refuse a key that none of the runs has; where some have it, the others stand without."""
    for key in keys:
        if not any(key in one for one in settings):
            known = {name: None for run, about in found for name in [*about, *flat(config_of(run))]}
            inner = [name for name in known if name.startswith(f"{key}.")]
            near = difflib.get_close_matches(key, inner or known, n=1) or inner[:1]
            hint = f"did you mean {near[0]}?" if near else "type dlx compare RUN to see its keys"
            raise UsageError(f"--by {key} was given; no run has such a key; {hint}")


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value).replace(" ", "")
