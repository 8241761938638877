"""`dlx runs`: list what was trained here, and how well."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dlx.errors import UsageError
from dlx.metrics import split_direction
from dlx.runs.query import choose_key_metric, find_directions, resolve_direction
from dlx.runs.rundir import ROOT, Run, read_runs
from dlx.runs.status import get_status


@click.command("runs")
@click.option(
    "--where", "conditions", multiple=True, metavar="KEY=VALUE", help="Of run.json or config.yaml; repeatable."
)
@click.option("--best", metavar="METRIC", help="The best run by METRIC first: test/accuracy, or test/mine:min.")
@click.option("--root", type=click.Path(path_type=Path), default=ROOT, show_default=True, help="Where to look.")
@click.option("--sweep", metavar="NAME", help="The runs of a sweep: its name, or the directory of a multirun.")
@click.option("--by", metavar="KEY,KEY", help="Mean and standard deviation of runs that have the same of these keys.")
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False), help="With --by: draw it, as PNG or PDF.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(
    conditions: tuple[str, ...],
    best: str | None,
    root: Path,
    sweep: str | None,
    by: str | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """List the runs below outputs/, the newest first."""
    from dlx.terminal import terminal

    if figure is not None and by is None:
        raise UsageError("--figure was given without --by; needed: the keys to group by; type --by model")
    wanted = [_parse_condition(given) for given in conditions]
    root = find_sweep(sweep) if sweep is not None else root
    found = [(run, about) for run, about in read_runs(root) if _matches(run, about, wanted)]
    found.sort(key=lambda pair: str(pair[1].get("started", "")), reverse=True)
    if by is not None:
        from dlx.sweeps.aggregate import print_groups

        print_groups(
            [(run, about) for run, about in found], [key.strip() for key in by.split(",")], best, root, as_json, figure
        )
        return
    if best is None and sweep is not None:
        best = _find_sweep_metric(root, found)
    if best is not None:
        best, found = _rank(found, best)
    if as_json:
        terminal.print_json(
            [{**about, "status": get_status(about), "directory": str(run.directory)} for run, about in found]
        )
    elif found:
        terminal.print_table([_make_row(run, about, best) for run, about in found])
    else:
        terminal.print_note(f"no run below {root}/" + (" fits" if wanted else "; type dlx train"))


def find_sweep(name: str) -> Path:
    """Return the directory of a sweep.

    Raises:
        UsageError: there is no such sweep.
    """
    from dlx.config.report import find_closest
    from dlx.sweeps.record import ROOT as SWEEPS

    for place in (SWEEPS / name, Path(name)):
        if place.is_dir() and name:
            return place
    known = sorted(folder.name for folder in SWEEPS.glob("*") if folder.is_dir())
    near = find_closest(name, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known) or 'none'} in {SWEEPS}/"
    raise UsageError(f"--sweep {name} was given; {hint}{'' if near else '; type dlx sweep NAME … for a new one'}")


def _find_sweep_metric(root: Path, found: list[tuple[Run, dict[str, Any]]]) -> str | None:
    """Return run.json's name of the metric that a sweep optimises, as `--best` takes it; None for a plain multirun."""
    from dlx.sweeps.record import read_record

    record = read_record(root)
    names = {name for _, about in found for name in about.get("metrics", {})}
    metric = record.metric if record else ""
    name = next((name for name in (metric.replace("val/", "val/best_", 1), metric) if name in names), None)
    if record is None or name is None or find_directions(name, [about for _, about in found]):
        return name
    return f"{name}:{record.mode}"  # which was typed for it


def _parse_condition(given: str) -> tuple[str, str]:
    key, equals, value = given.partition("=")
    if not equals or not key:
        raise UsageError(f"--where {given} was given; needed: KEY=VALUE, such as model=mlp or optimizer.lr=0.01")
    return key, value


def _matches(run: Run, about: dict[str, Any], wanted: list[tuple[str, str]]) -> bool:
    if not wanted:
        return True
    values = {**about, **about.get("metrics", {}), "status": get_status(about)}
    if any(key not in values for key, _ in wanted):
        from dlx.runs.saved import flatten, load_config

        try:
            values = {**flatten(load_config(run)), **values}
        except UsageError:
            return False
    return all(key in values and _is_equal(values[key], value) for key, value in wanted)


def _is_equal(value: Any, typed: str) -> bool:
    """Tell whether a stored value equals what was typed: 0.001 and 1e-3 are the same."""
    from dlx.runs.saved import parse_overrides

    if str(value) == typed:
        return True
    try:
        given = parse_overrides([f"key={typed}"])[0][1]
    except UsageError:
        return False
    return bool(given == value) and isinstance(given, bool) == isinstance(value, bool)


def _rank(found: list[tuple[Run, dict[str, Any]]], given: str) -> tuple[str, list[tuple[Run, dict[str, Any]]]]:
    """Return the metric's name, and the runs that have it, the best first."""
    metric, typed = split_direction("--best", given)
    names = sorted({name for _, about in found for name in about.get("metrics", {})})
    if metric not in names:
        raise UsageError(f"--best {metric} was given; these runs have {', '.join(names) or 'no metrics yet'}")
    having = [pair for pair in found if isinstance(pair[1].get("metrics", {}).get(metric), int | float)]
    direction = resolve_direction(metric, typed, [about for _, about in having])
    return metric, sorted(having, key=lambda pair: pair[1]["metrics"][metric], reverse=direction == "max")


def _format_local_time(started: str | None) -> str:
    """Format a time in the local time zone, to the minute."""
    return f"{datetime.fromisoformat(started).astimezone():%Y-%m-%d %H:%M}" if started else ""


def _make_row(run: Run, about: dict[str, Any], metric: str | None) -> dict[str, Any]:
    metrics = about.get("metrics") or {}
    name = metric or choose_key_metric(about)
    return {
        "id": about.get("id"),
        "started": _format_local_time(about.get("started")),
        "status": get_status(about),
        "model": about.get("model"),
        "dataset": about.get("dataset"),
        "metric": name,
        "value": metrics.get(name) if name else None,
        "epochs": about.get("epoch"),
        "seconds": round(about["seconds"], 1) if about.get("seconds") is not None else None,
        "directory": str(run.directory),
    }
