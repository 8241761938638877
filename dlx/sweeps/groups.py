"""Runs that differ in nothing but what is averaged over: mean and standard deviation, the best group first."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Group:
    """Runs with the same settings."""

    settings: dict[str, Any]
    values: list[float] = field(default_factory=list)  # of the runs that came to one
    runs: list[str] = field(default_factory=list)  # what they are called, those without a value last
    without: int = 0  # runs that came to none: failed, pruned, under way

    @property
    def mean(self) -> float:
        """Of the values; NaN without any."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def sd(self) -> float | None:
        """Standard deviation over the runs (n - 1); None for one alone."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if not self.values:
            return ""
        return f"{self.mean:.4g}" + (f" ± {self.sd:.2g}" if self.sd is not None else "")

    def document(self, metric: str) -> dict[str, Any]:
        """As `--json` gives it."""
        return {
            "settings": self.settings,
            "metric": metric,
            "mean": self.mean,
            "sd": self.sd,
            "values": self.values,
            "runs": self.runs,
            "without": self.without,
        }


def grouped(rows: Sequence[tuple[Mapping[str, Any], float, str]], least: bool) -> list[Group]:
    """Groups, the best first; those that came to nothing last.

    Args:
        rows: of each run its settings, what it came to (NaN for nothing) and its name.
        least: whether less is better.
    """
    found: dict[str, Group] = {}
    for settings, value, name in rows:
        group = found.setdefault(repr(sorted(settings.items())), Group(dict(settings)))
        if math.isfinite(value):
            group.runs.insert(len(group.values), name)
            group.values.append(value)
        else:
            group.runs.append(name)
            group.without += 1
    sign = 1 if least else -1
    return sorted(found.values(), key=lambda one: sign * one.mean if one.values else math.inf)


def rows(groups: Sequence[Group], metric: str) -> list[dict[str, Any]]:
    """Groups as a table shows them."""
    spoilt = any(one.without for one in groups)
    return [
        {
            **one.settings,
            metric: str(one),
            "runs": len(one.values),
            **({"without": one.without or None} if spoilt else {}),
        }
        for one in groups
    ]
