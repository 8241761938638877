"""What a sweep varies: Hydra's override grammar read as a search space.

Lists, `choice` and groups are categories, `range` a grid of numbers, `interval` all numbers between two, on a
logarithmic scale if tagged `log`, whole ones within `int(…)`. Several seeds are no dimension: every point is run with
each of them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from dlx.config.report import restore_log_sweeps
from dlx.errors import UsageError

Point = Mapping[str, Any]  # a value for each dimension, by its name

_LOG = re.compile(r"(?<![\w.])log\(\s*(?P<ends>[^(),]+,[^(),]+)\)")


def spelled(word: str) -> str:
    """An override with `log(a,b)` as Hydra spells it, `tag(log,interval(a,b))`."""
    key, equals, value = word.partition("=")
    if "'" in value or '"' in value:
        return word
    return key + equals + _LOG.sub(r"tag(log,interval(\g<ends>))", value)


@dataclass(frozen=True)
class Choices:
    """One of several values, as text."""

    name: str
    key: str  # as Hydra wants it, prefixes included
    values: tuple[str, ...]

    def word(self, value: Any) -> str:
        """The override that sets a value."""
        return f"{self.key}={value}"


@dataclass(frozen=True)
class Numbers:
    """A number between two, both included."""

    name: str
    key: str
    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @cached_property
    def values(self) -> tuple[float, ...] | None:
        """All of them, where they can be counted."""
        if self.step is None and not self.whole:
            return None
        step = self.step or 1
        return tuple(self.low + i * step for i in range(math.floor((self.high - self.low) / step + 1e-9) + 1))

    def word(self, value: Any) -> str:
        """The override that sets a value."""
        return f"{self.key}={value!r}"


Dimension = Choices | Numbers


@dataclass(frozen=True)
class Space:
    """The overrides of a sweep, sorted.

    Args:
        fixed: those of one value.
        dimensions: those that vary.
        seeds: of every point, as text; empty where the seed is not swept.
    """

    fixed: tuple[str, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    seeds: tuple[str, ...] = ()

    @property
    def points(self) -> int | None:
        """How many there are, None where they cannot be counted."""
        sizes = [len(d.values) if d.values is not None else None for d in self.dimensions]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def runs(self) -> int | None:
        """How many runs are all of it: every point with every seed; None where they cannot be counted."""
        return None if self.points is None else self.points * max(len(self.seeds), 1)

    def point(self, index: int) -> dict[str, Any]:
        """One of them, the last dimension varying fastest, as in a product."""
        found = {}
        for dimension in reversed(self.dimensions):
            assert dimension.values is not None
            index, place = divmod(index, len(dimension.values))
            found[dimension.name] = dimension.values[place]
        return {dimension.name: found[dimension.name] for dimension in self.dimensions}

    def words(self, point: Point, seed: str | None = None) -> list[str]:
        """The overrides of one run."""
        varied = [dimension.word(point[dimension.name]) for dimension in self.dimensions]
        return [*self.fixed, *varied, *([f"seed={seed}"] if seed is not None else [])]


def space(words: Sequence[str], parser: OverridesParser | None = None) -> Space:
    """Overrides as a search space.

    Args:
        words: without mistakes, Hydra's own left out.
        parser: knows the groups, for `glob`.

    Raises:
        UsageError: nothing varies, or not in a way that can be searched.
    """
    fixed, dimensions, seeds = [], [], tuple[str, ...]()
    overrides = (parser or OverridesParser.create()).parse_overrides(list(words))
    _once(overrides)
    for override in overrides:
        if not override.is_sweep_override():
            fixed.append(override.input_line or "")
        elif override.key_or_group == "seed":
            seeds = _seeds(override)
        else:
            dimensions.append(_dimension(override))
    if not dimensions and not seeds:
        raise UsageError(
            f"{' '.join(words) or 'nothing'} was given, in which nothing varies; needed: a space to search; "
            "type 'optimizer.lr=log(1e-4,1e-1)', model=mlp,svm, or model.hidden=[64],[64,64]"
        )
    return Space(tuple(fixed), tuple(dimensions), seeds)


def _once(overrides: Sequence[Override]) -> None:
    """Refuse several words for a key that varies: which of them is meant?"""
    given: dict[str, list[Override]] = {}
    for one in overrides:
        given.setdefault(one.get_key_element(), []).append(one)
    for those in given.values():
        varied = [one for one in those if one.is_sweep_override()]
        if len(those) > 1 and varied:
            words = " and ".join(restore_log_sweeps(one.input_line or "") for one in those)
            last = restore_log_sweeps(varied[-1].input_line or "")
            raise UsageError(f"{words} were given; needed: one of them; type '{last}'")


def swept(words: Sequence[str]) -> list[str]:
    """The keys and groups that take several values in turn; Hydra's own left out."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    return [one.key_or_group for one in parsed if one.is_sweep_override() and not one.is_hydra_override()]


def _seeds(override: Override) -> tuple[str, ...]:
    if not override.is_discrete_sweep():
        raise UsageError(f"{override.input_line} was given; needed: single seeds; type seed=1,2,3 or seed=range(3)")
    return tuple(dict.fromkeys(override.sweep_string_iterator()))


def _dimension(override: Override) -> Dimension:
    name, key, value = override.key_or_group, override.get_key_element(), override.value()
    assert not isinstance(value, str | int | float | bool | list | dict | None)
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None and high is not None  # noqa: PT018
        _ordered(override, low, high, log)
        return Numbers(name, key, low, high, None, log)
    if isinstance(value, RangeSweep) and not log:
        numbers = sorted(value.range())
        if len(numbers) > 1 and isinstance(value.step, int | float):
            return Numbers(name, key, numbers[0], numbers[-1], abs(value.step), False)
    return Choices(name, key, tuple(dict.fromkeys(override.sweep_string_iterator())))


def _ordered(override: Override, low: float, high: float, log: bool) -> None:
    given = restore_log_sweeps(override.input_line or "")
    if low >= high:
        scale = "log" if log else "interval"
        remedy = f"type '{override.key_or_group}={scale}({high:g},{low:g})'" if low > high else "type one number"
        raise UsageError(f"{given} was given; needed: the smaller end first, and two different ends; {remedy}")
    if log and low <= 0:
        raise UsageError(
            f"{given} was given; needed: a logarithmic scale above 0; "
            f"type {override.key_or_group}=interval({low:g},{high:g})"
        )


def counted(space: Space) -> Iterator[dict[str, Any]]:
    """Every point of a space that can be counted, in order."""
    for index in range(space.points or 0):
        yield space.point(index)
