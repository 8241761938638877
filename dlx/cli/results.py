"""What `dlx list experiments` says of an experiment: what was published, what was measured, whether it was reached."""

from functools import cache
from typing import Any

from dlx.config.catalogue import Catalogue
from dlx.config.published import Figure, read_figures
from dlx.metrics import get_direction
from dlx.records.measured import Measured, Record, format_measured, measure, read_records
from dlx.records.place import find_results


def describe_results(experiment: str, catalogue: Catalogue) -> dict[str, Any]:
    """Return the entries `published`, `measured` and `reached` of an experiment, as `--json` prints them.

    `measured` is of the metric that was published, or else the one that the runs are known by; `metrics` has all.
    """
    figures, measured = _find_results(experiment, catalogue)
    first = next(iter(measured.values()), None)
    means = {name: {"mean": one.mean, "sd": one.sd} for name, one in measured.items()}
    return {
        "published": [figure._asdict() for figure in figures],
        "measured": None if first is None else {**first._asdict(), "metrics": means},
        "reached": find_reached(figures, measured),
    }


def format_results(experiment: str, catalogue: Catalogue) -> list[str]:
    """Return in short what was measured, and what was published as far as somebody has seen it."""
    figures, measured = _find_results(experiment, catalogue)
    seen = [figure for figure in figures if figure.seen]
    first = next(iter(measured.values()), None)
    said = []
    if first is not None:
        unit = next((figure.unit for figure in figures if figure.metric == first.metric), None)
        if unit is None:
            unit = "%" if first.metric.endswith(("/accuracy", "/error")) else ""
        said.append(f"{first.metric} {format_measured(first, unit)}")
    if seen:
        said.append(f"published {', '.join(map(str, seen))}")
    return said


def find_reached(figures: list[Figure], measured: dict[str, Measured]) -> bool | None:
    """Return whether the means are as good as every published figure that was seen; None without one to compare."""
    pairs = [(one, one.scale(measured[one.metric].mean)) for one in figures if one.seen and one.metric in measured]
    if not pairs:
        return None
    return all(mean <= one.value if get_direction(one.metric) == "min" else mean >= one.value for one, mean in pairs)


def _find_results(experiment: str, catalogue: Catalogue) -> tuple[list[Figure], dict[str, Measured]]:
    figures = read_figures(catalogue.read_published(experiment))
    return figures, measure(experiment, figures, _read_records())


@cache
def _read_records() -> tuple[Record, ...]:
    return tuple(read_records(find_results()))
