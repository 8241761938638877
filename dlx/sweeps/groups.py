"""Groups of runs that have the same settings: mean and standard deviation of a metric, the best group first."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Group:
    """Runs with the same settings."""

    settings: dict[str, Any]
    values: list[float] = field(default_factory=list)  # of the runs that have the metric
    runs: list[str] = field(default_factory=list)  # their names, those without a value last
    n_without_value: int = 0  # how many have no value: failed, pruned, running

    @property
    def mean(self) -> float:
        """Mean of the values; NaN without any."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1) of the values; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if not self.values:
            return ""
        return f"{self.mean:.4g}" + (f" ± {self.std:.2g}" if self.std is not None else "")

    def to_dict(self, metric: str) -> dict[str, Any]:
        """Return the group as `--json` prints it."""
        return {
            "settings": self.settings,
            "metric": metric,
            "mean": self.mean,
            "sd": self.std,
            "values": self.values,
            "runs": self.runs,
            "without": self.n_without_value,
        }


def group_runs(rows: Sequence[tuple[Mapping[str, Any], float, str]], lower_is_better: bool | None) -> list[Group]:
    """Group runs by their settings. Returns the groups, the best first, those without a value last.

    Args:
        rows: settings, value (NaN for none) and name of each run.
        lower_is_better: the direction of the metric; None for one that has none: the groups stay as they came.
    """
    groups: dict[str, Group] = {}
    for settings, value, name in rows:
        group = groups.setdefault(repr(sorted(settings.items())), Group(dict(settings)))
        if math.isfinite(value):
            group.runs.insert(len(group.values), name)
            group.values.append(value)
        else:
            group.runs.append(name)
            group.n_without_value += 1
    sign = 0 if lower_is_better is None else 1 if lower_is_better else -1
    return sorted(groups.values(), key=lambda one: sign * one.mean if one.values else math.inf)


def make_rows(groups: Sequence[Group], metric: str) -> list[dict[str, Any]]:
    """Return the groups as rows of a table."""
    some_without_value = any(one.n_without_value for one in groups)
    return [
        {
            **one.settings,
            metric: str(one),
            "runs": len(one.values),
            **({"without": one.n_without_value or None} if some_without_value else {}),
        }
        for one in groups
    ]
