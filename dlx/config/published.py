"""Figures as data: what a source published for the setting of an experiment, the root key `published`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dlx.config.report import find_closest
from dlx.config.static.schema import Boolean, Choice, Kind, Number, String, Union, format_value

_EXPONENT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
NULL = Choice((None,))
# The keys of a figure, and what each may hold; those that may be null may be left out.
FIELDS: dict[str, Kind] = {
    "metric": String(),
    "value": Number(False),
    "spread": Union((Number(False), NULL)),
    "unit": Choice(("%", "nats", "bits", "")),
    "setting": Union((String(), NULL)),
    "source": String(),
    "seen": Boolean(),
}
OPTIONAL = tuple(name for name, kind in FIELDS.items() if kind.accepts(None))


class Figure(NamedTuple):
    """A published figure."""

    metric: str  # as run.json names it: test/error
    value: float  # in the unit
    spread: float | None  # in the unit, as the source gives it
    unit: str  # %: the metric times 100; nats, bits or nothing: the metric as it is
    setting: str | None  # what differs from the experiment's
    source: str
    seen: bool  # whether somebody looked the figure up; only then is it printed as the source's

    def scale(self, value: float) -> float:
        """Return a value of the metric in the figure's unit."""
        return value * 100 if self.unit == "%" else value

    def __str__(self) -> str:
        """Format it with its unit and source: `225 ± 2 nats (Goodfellow et al. 2014)`."""
        spread = "" if self.spread is None else f" ± {format_number(self.spread)}"
        setting = f"; {self.setting}" if self.setting else ""
        return f"{format_number(self.value)}{spread}{self.suffix} ({self.source}{setting})"

    @property
    def suffix(self) -> str:
        """The unit with the space before it; empty where there is none."""
        return f" {self.unit}" if self.unit else ""


def format_number(value: float) -> str:
    """Format a number as short as it is exact to eight digits: 0.95, 5.3e-5."""
    mantissa, e, exponent = f"{value:.8g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def read_figures(entries: Any) -> list[Figure]:
    """Read a list of figures; entries with a mistake are left out (`find_mistakes` reports them)."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return []
    read = [_read_exponents(entry) for entry in entries]
    good = [entry for entry in read if not list(_find_entry_mistakes(entry))]
    return [Figure(**{name: entry.get(name) for name in FIELDS}) for entry in good]


def _read_exponents(entry: Any) -> Any:
    """Read `5e-5` as a number in an entry: plain PyYAML takes it for text, OmegaConf does not."""
    if not isinstance(entry, Mapping):
        return entry
    texts = {key: entry[key] for key in ("value", "spread") if isinstance(entry.get(key), str)}
    return {**entry, **{key: float(text) for key, text in texts.items() if _EXPONENT.match(text)}}


class Mistake(NamedTuple):
    """What is wrong with an entry of `published`."""

    path: tuple[str, ...]  # below `published`
    what: str
    remedy: str = ""


def find_mistakes(entries: Any) -> Iterator[Mistake]:
    """Yield what is wrong with a list of figures: unknown keys, missing ones, values of the wrong type."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        yield Mistake(
            (), f"published was given {format_value(entries)}; needed: a list of figures", "type published=[]"
        )
        return
    for place, entry in enumerate(entries):
        for mistake in _find_entry_mistakes(entry, f"published[{place}]"):
            yield mistake._replace(path=(str(place), *mistake.path))


def _find_entry_mistakes(entry: Any, name: str = "") -> Iterator[Mistake]:
    if not isinstance(entry, Mapping):
        yield Mistake((), f"{name} was given {format_value(entry)}; needed: a mapping with {', '.join(FIELDS)}")
        return
    for key, value in entry.items():
        kind = FIELDS.get(str(key))
        if kind is None:
            near = find_closest(str(key), FIELDS)
            hint = f"did you mean {near}?" if near else f"it takes {', '.join(FIELDS)}"
            yield Mistake((str(key),), f"{name} takes no {key}; {hint}")
        elif not kind.accepts(value):
            yield Mistake((str(key),), f"{name}.{key} was given {format_value(value)}; needed: {kind}")
    for key, kind in FIELDS.items():
        if key not in entry and key not in OPTIONAL:
            yield Mistake((), f"{name} has no {key}; needed: {kind}")
    metric = entry.get("metric")
    if isinstance(metric, str) and metric.partition("/")[0] not in ("train", "val", "test"):
        yield Mistake(("metric",), f"{name}.metric was given {metric}; needed: train/, val/ or test/ and a name")
