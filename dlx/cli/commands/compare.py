"""`dlx compare`: show the settings, versions, metrics and curves in which runs differ."""

import math
from collections.abc import Sequence
from typing import Any

import click

from dlx.errors import UsageError
from dlx.runs.query import find_directions
from dlx.runs.rundir import Run, find_run
from dlx.runs.status import get_status

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

    found = list({run.directory.resolve(): run for run in map(find_run, names)}.values())
    if len(found) < len(names):
        raise UsageError(f"{' '.join(names)} was given, which names a run twice; needed: different runs")
    about = [run.read() for run in found]
    labels = _make_labels(about)
    values = _read_curves(found, labels)
    unknown = [tag for tag in tags if tag not in values]
    if unknown:
        near = ", ".join(values) or "no curves"
        raise UsageError(f"--curve {unknown[0]} was given; these runs have {near}")
    parts = {
        "runs": _run_rows(found, about, labels),
        "settings": _setting_rows(found, labels),
        "versions": _diff_rows([_get_versions(one) for one in about], labels, "package"),
        "metrics": _metric_rows(about, labels),
        "curves": _curve_rows(values),
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
    _plot_curves(values, about, tags)


def _make_labels(about: Sequence[dict[str, Any]]) -> list[str]:
    """Return a short label for each run: its id, numbered where two have the same."""
    ids = [str(one.get("id", "?")) for one in about]
    return [name if ids.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(ids)]


def _run_rows(found: Sequence[Run], about: Sequence[dict[str, Any]], labels: Sequence[str]) -> Rows:
    return [
        {
            "run": label,
            "status": get_status(one),
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


def _get_versions(about: dict[str, Any]) -> dict[str, Any]:
    return {**about.get("versions", {}), "git": about.get("git")}


def _setting_rows(found: Sequence[Run], labels: Sequence[str]) -> Rows:
    from dlx.runs.saved import flatten, load_config

    return _diff_rows([flatten(load_config(run)) for run in found], labels, "key")


def _diff_rows(columns: Sequence[dict[str, Any]], labels: Sequence[str], title: str) -> Rows:
    """Return a row for each entry whose values differ; for every entry if there is only one column."""
    keys = dict.fromkeys(key for column in columns for key in column)
    rows: Rows = []
    for key in keys:
        values = [column.get(key) for column in columns]
        if len(columns) == 1 or any(value != values[0] for value in values):
            cells = {label: column[key] for label, column in zip(labels, columns, strict=True) if key in column}
            rows.append({title: key, **cells})
    return rows


def _metric_rows(about: Sequence[dict[str, Any]], labels: Sequence[str]) -> Rows:
    """Return a row for each final metric, with the best run; with two runs, the difference too."""
    columns = [one.get("metrics") or {} for one in about]
    keys = dict.fromkeys(key for column in columns for key in column)
    rows: Rows = []
    for key in keys:
        values = [column.get(key) for column in columns]
        row: dict[str, Any] = {"metric": key, **dict(zip(labels, values, strict=True))}
        first, second = values if len(values) == 2 else (None, None)
        if first is not None and second is not None:
            row["difference"] = second - first
        if len(values) > 1:
            row["best"] = _find_best(key, values, about, labels)
        rows.append(row)
    return rows


def _find_best(
    key: str, values: Sequence[float | None], about: Sequence[dict[str, Any]], labels: Sequence[str]
) -> str | None:
    """Return the label of the run whose value is the best; None without a direction, or where several are."""
    directions = find_directions(key, about)
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(directions) != 1 or len(known) < 2:
        return None
    best = max(known) if directions == {"max"} else min(known)
    return labels[values.index(best)] if known.count(best) == 1 else None


def _read_curves(found: Sequence[Run], labels: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Return the training loss and validation metrics by tag and run, one value per epoch."""
    from dlx.loggers import jsonl

    runs = dict(zip(labels, found, strict=True))
    records = {label: jsonl.read_metrics(run.directory / "metrics.jsonl") for label, run in runs.items()}
    tags = {tag for run in records.values() for one in run for tag in one}
    return {
        tag: {label: _average_by_epoch(records[label], tag, *_get_batches(run)) for label, run in runs.items()}
        for tag in sorted(tag for tag in tags if tag.startswith("val/") or tag == "train/loss")
    }


def _curve_rows(values: dict[str, dict[str, list[float]]]) -> Rows:
    """Return a row for each curve: its last, lowest and highest value, and a sparkline."""
    from dlx.terminal.terminal import draw_sparkline

    rows: Rows = []
    for tag, by_run in values.items():
        for label, curve in by_run.items():
            finite = [value for value in curve if math.isfinite(value)]
            if finite:
                ends = {"last": finite[-1], "lowest": min(finite), "highest": max(finite)}
                rows.append({"curve": tag, "run": label, **ends, "trend": draw_sparkline(curve)})
    return rows


def _plot_curves(
    values: dict[str, dict[str, list[float]]], about: Sequence[dict[str, Any]], tags: Sequence[str]
) -> None:
    """Plot each tag's curves over each other, where they have more than one point."""
    from dlx.terminal.plot import plot

    best = {name.replace("best_", "") for one in about for name in one.get("metrics") or {} if "/best_" in name}
    for tag in tags or [tag for tag in values if tag in best or tag == "train/loss"]:
        lines = {run: list(enumerate(curve, 1)) for run, curve in values[tag].items() if len(curve) > 1}
        if lines:
            print("", *plot(lines, f"{tag} by epoch"), sep="\n")


def _get_batches(run: Run) -> tuple[int, int]:
    """Return how many examples a step of a run has, and the last step of an epoch; 1 and 1 where it is not known."""
    from omegaconf import OmegaConf

    about = run.read()
    given = about.get("global_batch") or OmegaConf.select(
        OmegaConf.load(run.directory / "config.yaml"), "trainer.batch"
    )
    examples = about.get("examples", {}).get("train")
    if not isinstance(given, int) or not examples:
        return 1, 1
    return given, examples % given or given


def _average_by_epoch(records: Sequence[dict[str, Any]], tag: str, batch: int, last: int) -> list[float]:
    """Return the mean of a tag in each epoch, by examples: `batch` in a step, `last` in the last one of an epoch.

    An epoch's last line is the first that counts it as finished.
    """
    sums: dict[int, tuple[float, int]] = {}
    finished = 0
    for one in records:
        epoch = int(one["epoch"])
        if tag in one:
            weight = last if epoch > finished else batch
            total, count = sums.get(finished, (0.0, 0))
            sums[finished] = (total + weight * float(one[tag]), count + weight)
        finished = epoch
    return [total / count for total, count in sums.values()]
