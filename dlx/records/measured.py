"""Read records, and say what was measured of each experiment."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlx.config.published import Figure, format_number
from dlx.config.static.schema import format_value
from dlx.runs.query import choose_key_metric

TRANSCRIBED = "transcribed"  # the folder of records that were taken over from tables written by hand


class Record(NamedTuple):
    """What one run measured, or the runs of one row of a table that was written by hand."""

    experiment: str | None
    overrides: dict[str, Any]  # beside the experiment, as a configuration's keys
    command: str
    seeds: tuple[int, ...]
    date: str
    commit: str | None
    metrics: dict[str, tuple[float, ...]]  # one value for each seed
    seconds: tuple[float, ...]  # of each run, or a range over them
    transcribed: bool = False
    table: str = ""  # of a transcribed one
    cells: tuple[str, ...] = ()  # its row, see dlx.records.tables

    @property
    def is_plain(self) -> bool:
        """Whether it is of an experiment exactly as its file says."""
        return self.experiment is not None and not self.overrides


class Measured(NamedTuple):
    """Mean and standard deviation of a metric over the runs of an experiment."""

    metric: str
    mean: float
    sd: float | None  # None of a single run
    seeds: tuple[int, ...]
    date: str  # of the last run
    commit: str | None
    seconds: float | None  # of the slowest run


def read_records(folders: Iterable[Path]) -> list[Record]:
    """Read all records below some folders: transcribed ones table by table, then runs' by experiment, date and seed."""
    transcribed, own = [], []
    for folder in folders:
        for file in sorted(folder.glob("*/*.json")):
            content = json.loads(file.read_text(encoding="utf-8"))
            if file.parent.name == TRANSCRIBED:
                transcribed += [_read_row(row, file.stem) for row in content]
            else:
                own.append(_read_run(content))
    return transcribed + sorted(own, key=lambda one: (one.experiment or "", one.date, one.seeds))


def _read_run(content: Mapping[str, Any]) -> Record:
    values = {name: value for name, value in content["metrics"].items() if isinstance(value, int | float)}
    metrics: dict[str, tuple[float, ...]] = {name: (float(value),) for name, value in values.items()}
    seconds = () if content.get("seconds") is None else (float(content["seconds"]),)
    return Record(
        content["experiment"],
        content["overrides"],
        _format_command(content),
        (content["seed"],),
        content["date"],
        content["commit"],
        metrics,
        seconds,
    )


def _read_row(content: Mapping[str, Any], table: str) -> Record:
    return Record(
        content.get("experiment"),
        content.get("overrides", {}),
        content.get("command", ""),
        tuple(content.get("seeds", ())),
        content["date"],
        content["commit"],
        {name: tuple(values) for name, values in content.get("metrics", {}).items()},
        tuple(content.get("seconds", ())),
        True,
        table,
        tuple(content["cells"]),
    )


def _format_command(content: Mapping[str, Any]) -> str:
    """Return what to type for such a run: the experiment and what differs from it; without one, what was typed."""
    if content["experiment"] is None:
        return str(content["command"])
    changed = [f"{key}={format_value(value)}" for key, value in content["overrides"].items()]
    return " ".join(["dlx train", f"experiment={content['experiment']}", *changed])


def measure(experiment: str, figures: Sequence[Figure], records: Iterable[Record]) -> dict[str, Measured]:
    """Return what was measured of an experiment as its file says, the metric that it is known by first.

    Args:
        experiment: its name.
        figures: the published ones; their metrics come first.
        records: of any experiments. A seed that was recorded twice counts by its newest record.
    """
    mine = [one for one in records if one.is_plain and one.experiment == experiment]
    newest: dict[str, dict[int, tuple[float, Record]]] = {}
    for one in sorted(mine, key=lambda record: record.date):
        for metric, values in one.metrics.items():
            for seed, value in zip(one.seeds, values, strict=False):
                newest.setdefault(metric, {})[seed] = (value, one)
    published = [figure.metric for figure in figures]
    key = choose_key_metric(dict.fromkeys(newest, 0.0)) if newest else None
    order = dict.fromkeys(name for name in [*published, key, *newest] if name is not None and name in newest)
    return {name: _summarize(name, newest[name]) for name in order}


def _summarize(metric: str, by_seed: Mapping[int, tuple[float, Record]]) -> Measured:
    values = [value for value, _ in by_seed.values()]
    last = max((record for _, record in by_seed.values()), key=lambda one: one.date)
    seconds = [number for _, record in by_seed.values() for number in record.seconds]
    spread = statistics.stdev(values) if len(values) > 1 else None
    slowest = max(seconds, default=None)
    return Measured(metric, statistics.fmean(values), spread, tuple(sorted(by_seed)), last.date, last.commit, slowest)


def format_measured(one: Measured, unit: str) -> str:
    """Format a mean with its standard deviation: `0.783 ± 0.068 %`."""
    scale = 100 if unit == "%" else 1
    spread = "" if one.sd is None else f" ± {format_number(float(f'{one.sd * scale:.2g}'))}"
    return f"{format_number(float(f'{one.mean * scale:.4g}'))}{spread}{f' {unit}' if unit else ''}"
