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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Settings and versions that differ, metrics side by side, and the curves.

    RUN is a directory, a run's id, or `last`. One RUN alone is shown in full.
    """
    from dlx.commandline import terminal

    found = list({run.directory.resolve(): run for run in map(find, names)}.values())
    if len(found) < len(names):
        raise UsageError(f"{' '.join(names)} was given, which names a run twice; needed: different runs")
    about = [run.read() for run in found]
    labels = _labels(about)
    parts = {
        "runs": _runs(found, about, labels),
        "settings": _settings(found, labels),
        "versions": _side_by_side([_versions(one) for one in about], labels, "package"),
        "metrics": _metrics([one.get("metrics") or {} for one in about], labels),
        "curves": _curves(found, labels),
    }
    if as_json:
        terminal.document(parts)
        return
    from dlx.config.schema import shown

    parts["settings"] = [{key: shown(value) for key, value in row.items()} for row in parts["settings"]]
    for name, rows in parts.items():
        if rows:
            print(f"\n{name}" if name != "runs" else name)
            terminal.table(rows)


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


def _curves(found: Sequence[Run], labels: Sequence[str]) -> Rows:
    """The epochs' curves: training loss, and the validation split's metrics, with their last, lowest, highest value."""
    from dlx.commandline.terminal import sparkline
    from dlx.logs import curves

    tags: dict[str, None] = {}
    records = [curves.read(run.directory / "metrics.jsonl") for run in found]
    for record in (one for run in records for one in run):
        tags.update(dict.fromkeys(tag for tag in record if tag.startswith("val/") or tag == "train/loss"))
    rows: Rows = []
    for tag in sorted(tags):
        for label, run in zip(labels, records, strict=True):
            values = _epochs(run, tag)
            finite = [value for value in values if math.isfinite(value)]
            if finite:
                ends = {"last": finite[-1], "lowest": min(finite), "highest": max(finite)}
                rows.append({"curve": tag, "run": label, **ends, "trend": sparkline(values)})
    return rows


def _epochs(records: Sequence[dict[str, Any]], tag: str) -> list[float]:
    """The mean of a tag in each epoch. An epoch's last line is the first one that counts it as finished."""
    by_epoch: dict[int, list[float]] = {}
    finished = 0
    for one in records:
        if tag in one:
            by_epoch.setdefault(finished, []).append(float(one[tag]))
        finished = int(one["epoch"])
    return [sum(values) / len(values) for values in by_epoch.values()]
