"""`dlx compare`: show the settings, versions, metrics and curves in which runs differ."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dlx.cli.figures import check_figure, draw_figure, find_finished
from dlx.errors import UsageError
from dlx.runs.query import find_directions
from dlx.runs.rundir import Run, find_run
from dlx.runs.status import get_status

Rows = list[dict[str, Any]]


@click.command("compare")
@click.argument("names", nargs=-1, metavar="RUN RUN...")
@click.option("--sweep", metavar="NAME", help="The finished runs of a sweep, or of a multirun's directory, too.")
@click.option(
    "--curve",
    "tags",
    multiple=True,
    metavar="METRIC[,METRIC]",
    help="Which to draw, such as val/loss: any tag that the runs have; several in one chart; repeatable.",
)
@click.option("--figure", metavar="NAME", help="A chart of each model side by side: regions, … (docs/pictures.md).")
@click.option("--against", metavar="KEY", help="The number on validation_curve's axis, where runs differ in several.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where --figure goes. Default: compare_NAME.png.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON map.")
def command(
    names: tuple[str, ...],
    sweep: str | None,
    tags: tuple[str, ...],
    figure: str | None,
    against: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Settings and versions that differ, metrics side by side, and the curves over each other.

    RUN is a directory, a run's id, or `last`. One RUN alone is shown in full. Without --curve the training loss is
    drawn, and what the best model was chosen by.
    """
    from dlx.terminal import terminal

    if figure is not None:
        check_figure(figure)
    elif output is not None:
        raise UsageError(f"-o {output} was given without --figure; type --figure regions too")
    found = list({run.directory.resolve(): run for run in map(find_run, names)}.values())
    if sweep is not None:
        found += [
            run for run in find_finished(sweep) if run.directory.resolve() not in {r.directory.resolve() for r in found}
        ]
    if not found:
        raise UsageError("no RUN was given; needed: one or more runs; type dlx compare RUN RUN, or --sweep NAME")
    if sweep is None and len(found) < len(names):
        raise UsageError(f"{' '.join(names)} was given, which names a run twice; needed: different runs")
    about = [run.read() for run in found]
    labels = _make_labels(about)
    values = _read_curves(found, labels)
    unknown = [tag for tag in ",".join(tags).split(",") if tags and tag not in values]
    if unknown:
        near = ", ".join(values) or "no curves"
        raise UsageError(f"--curve {unknown[0]} was given; these runs have {near}")
    usual = {tag: curves for tag, curves in values.items() if tag.startswith("val/") or tag == "train/loss"}
    asked = {tag: values[tag] for tag in ",".join(tags).split(",")} if tags else usual
    parts = {
        "runs": _run_rows(found, about, labels),
        "settings": _setting_rows(found, labels),
        "versions": _diff_rows([_get_versions(one) for one in about], labels, "package"),
        "metrics": _metric_rows(about, labels),
        "curves": _curve_rows(asked),
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
            terminal.print_line(f"\n{name}" if name != "runs" else name)
            terminal.print_table(rows)
    _plot_curves(asked, about, tags)
    if figure is not None:
        terminal.print_note(
            f"figure written to {draw_figure(figure, found, about, output, against, tags[0] if tags else None)}"
        )


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
    """Return all that was logged by tag and run, one value per epoch; runs that lack a tag have none."""
    from dlx.loggers import jsonl

    records = {
        label: jsonl.read_metrics(run.directory / "metrics.jsonl") for label, run in zip(labels, found, strict=True)
    }
    tags = {tag for run in records.values() for one in run for tag in one if "/" in tag}
    plans = {label: _plan_epoch(run.read()) for label, run in zip(labels, found, strict=True)}
    return {
        tag: {label: _average_by_epoch(run, tag, *plans[label]) for label, run in records.items()}
        for tag in sorted(tags)
    }


def _plan_epoch(about: dict[str, Any]) -> tuple[int, float]:
    """Return an epoch's steps, and the weight of the last among them: its batch may be smaller than the others."""
    examples, batch = (about.get("examples") or {}).get("train"), about.get("global_batch") or about.get("batch_size")
    if not isinstance(examples, int) or not isinstance(batch, int) or batch < 1:
        return 0, 1.0  # not known of older runs
    return -(-examples // batch), (examples % batch or batch) / batch


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
    from dlx.terminal.terminal import print_line

    best = {name.replace("best_", "") for one in about for name in one.get("metrics") or {} if "/best_" in name}
    for chart in tags or [tag for tag in values if tag in best or tag == "train/loss"]:
        together = chart.split(",")
        lines = {
            run if len(together) == 1 else f"{tag} {run}" if len(about) > 1 else tag: list(enumerate(curve, 1))
            for tag in together
            for run, curve in values[tag].items()
            if len(curve) > 1
        }
        if lines:
            print_line("\n".join(["", *plot(lines, f"{', '.join(together)} by epoch")]))


def _average_by_epoch(
    records: Sequence[dict[str, Any]], tag: str, steps: int = 0, last_weight: float = 1.0
) -> list[float]:
    """Return the mean of a tag in each epoch. An epoch's last line is the first that counts it as finished.

    Args:
        records: of metrics.jsonl.
        tag: one of theirs.
        steps: of an epoch.
        last_weight: of the last of them, where all of an epoch were logged, as run.json's means have it.
    """
    by_epoch: dict[int, list[float]] = {}
    finished = 0
    for one in records:
        if tag in one:
            by_epoch.setdefault(finished, []).append(float(one[tag]))
        finished = int(one["epoch"])
    means = []
    for values in by_epoch.values():
        last = last_weight if len(values) == steps else 1.0
        means.append((sum(values[:-1]) + last * values[-1]) / (len(values) - 1 + last))
    return means
