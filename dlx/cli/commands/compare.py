"""`dlx compare`: what differs between runs, and what came of it."""

import math
from collections.abc import Sequence
from typing import Any

import click

from dlx.errors import UsageError
from dlx.runs.rundir import Run, find
from dlx.runs.status import status

Rows = list[dict[str, Any]]


@click.command("compare")
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--curve", "tags", multiple=True, metavar="METRIC", help="Which to draw, such as val/loss; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map.")
def command(names: tuple[str, ...], tags: tuple[str, ...], as_json: bool) -> None:
    """Settings and versions that differ, metrics side by side, and the curves over each other.

    RUN is a directory, a run's id, or `last`. One RUN alone is shown in full. Without --curve the training loss is
    drawn, and what the best model was chosen by.
    """
    from dlx.terminal import terminal

    found = list({run.directory.resolve(): run for run in map(find, names)}.values())
    if len(found) < len(names):
        raise UsageError(f"{' '.join(names)} was given, which names a run twice; needed: different runs")
    about = [run.read() for run in found]
    labels = _labels(about)
    values = _values(found, labels)
    unknown = [tag for tag in tags if tag not in values]
    if unknown:
        near = ", ".join(values) or "no curves"
        raise UsageError(f"--curve {unknown[0]} was given; these runs have {near}")
    parts = {
        "runs": _runs(found, about, labels),
        "settings": _settings(found, labels),
        "versions": _side_by_side([_versions(one) for one in about], labels, "package"),
        "metrics": _metrics([one.get("metrics") or {} for one in about], labels),
        "curves": _curves(values),
    }
    if as_json:
        for row in parts["curves"]:
            row["values"] = values[row["curve"]][row["run"]]
        terminal.print_json(parts)
        return
    from dlx.config.static.schema import format_value

    parts["settings"] = [{key: format_value(value) for key, value in row.items()} for row in parts["settings"]]
    for name, rows in parts.items():
        if rows:
            print(f"\n{name}" if name != "runs" else name)
            terminal.print_table(rows)
    _drawn(values, about, tags)


def _labels(about: Sequence[dict[str, Any]]) -> list[str]:
    """A short name for each run: its id, numbered where two have the same."""
    ids = [str(one.get("id", "?")) for one in about]
    return [name if ids.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(ids)]


def _runs(found: Sequence[Run], about: Sequence[dict[str, Any]], labels: Sequence[str]) -> Rows:
    return [
        {
            "run": label,
            "status": status(one),
            "model": one.get("model"),
            "dataset": one.get("dataset"),
            "parameters": one.get("parameters"),
            "epochs": one.get("epoch"),
            "seconds": one.get("seconds"),
            "device": one.get("device"),
            "directory": str(run.directory),
        }
        for run, one, label in zip(found, about, labels, strict=True)
    ]


def _versions(about: dict[str, Any]) -> dict[str, Any]:
    return {**about.get("versions", {}), "git": about.get("git")}


def _settings(found: Sequence[Run], labels: Sequence[str]) -> Rows:
    from dlx.runs.saved import config_of, flat

    return _side_by_side([flat(config_of(run)) for run in found], labels, "key")


def _side_by_side(columns: Sequence[dict[str, Any]], labels: Sequence[str], title: str) -> Rows:
    """Entries whose values differ (all of them if there is one column only)."""
    keys = dict.fromkeys(key for column in columns for key in column)
    rows: Rows = []
    for key in keys:
        values = [column.get(key) for column in columns]
        if len(columns) == 1 or any(value != values[0] for value in values):
            cells = {label: column[key] for label, column in zip(labels, columns, strict=True) if key in column}
            rows.append({title: key, **cells})
    return rows


def _metrics(columns: Sequence[dict[str, float]], labels: Sequence[str]) -> Rows:
    """Every final metric; with two runs the difference too."""
    keys = dict.fromkeys(key for column in columns for key in column)
    rows: Rows = []
    for key in keys:
        values = [column.get(key) for column in columns]
        row: dict[str, Any] = {"metric": key, **dict(zip(labels, values, strict=True))}
        first, second = values if len(values) == 2 else (None, None)
        if first is not None and second is not None:
            row["difference"] = second - first
        rows.append(row)
    return rows


def _values(found: Sequence[Run], labels: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Training loss and the validation split's metrics: by tag and run, one value an epoch."""
    from dlx.loggers import jsonl

    records = {label: jsonl.read(run.directory / "metrics.jsonl") for label, run in zip(labels, found, strict=True)}
    tags = {tag for run in records.values() for one in run for tag in one}
    return {
        tag: {label: _epochs(run, tag) for label, run in records.items()}
        for tag in sorted(tag for tag in tags if tag.startswith("val/") or tag == "train/loss")
    }


def _curves(values: dict[str, dict[str, list[float]]]) -> Rows:
    """The curves with their last, lowest and highest value."""
    from dlx.terminal.terminal import draw_sparkline

    rows: Rows = []
    for tag, by_run in values.items():
        for label, curve in by_run.items():
            finite = [value for value in curve if math.isfinite(value)]
            if finite:
                ends = {"last": finite[-1], "lowest": min(finite), "highest": max(finite)}
                rows.append({"curve": tag, "run": label, **ends, "trend": draw_sparkline(curve)})
    return rows


def _drawn(values: dict[str, dict[str, list[float]]], about: Sequence[dict[str, Any]], tags: Sequence[str]) -> None:
    """The curves of each tag over each other, where they have several points."""
    from dlx.terminal.plot import plot

    best = {name.replace("best_", "") for one in about for name in one.get("metrics") or {} if "/best_" in name}
    for tag in tags or [tag for tag in values if tag in best or tag == "train/loss"]:
        lines = {run: list(enumerate(curve, 1)) for run, curve in values[tag].items() if len(curve) > 1}
        if lines:
            print("", *plot(lines, f"{tag} by epoch"), sep="\n")


def _epochs(records: Sequence[dict[str, Any]], tag: str) -> list[float]:
    """The mean of a tag in each epoch. An epoch's last line is the first one that counts it as finished."""
    by_epoch: dict[int, list[float]] = {}
    finished = 0
    for one in records:
        if tag in one:
            by_epoch.setdefault(finished, []).append(float(one[tag]))
        finished = int(one["epoch"])
    return [sum(values) / len(values) for values in by_epoch.values()]
