"""Kinds of values: the annotations of a constructor, read from source text and checked without importing it.

An annotation that is not understood accepts everything: a check that is in doubt stays silent, and the constructor
itself has the last word.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlx.types import Range


class Kind:
    """A kind of value. This one accepts everything, the kinds below less. `str()` says what is needed."""

    def accepts(self, value: Any) -> bool:
        """Return whether a plain value (from YAML or the command line) may be given."""
        return True

    def accepts_node(self, value: Any) -> bool:
        """Return whether a value is accepted, or an object (`_target_`) in its place, or objects by name for a list."""
        if isinstance(value, Mapping) and value:
            named = all(isinstance(entry, Mapping) and "_target_" in entry for entry in value.values())
            if "_target_" in value or named:
                return True
        return self.accepts(value)

    def suggest(self, value: Any) -> str | None:
        """Return the word that was probably meant, where words are asked for; None where none is close."""
        return None

    def __str__(self) -> str:
        return "anything"


ANYTHING = Kind()


class Object(Kind):
    """An object that no plain value can stand for, such as a tensor: `float | Tensor` asks for a number here."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def __str__(self) -> str:
        return "an object (_target_)"


@dataclass(frozen=True)
class Number(Kind):
    """An integer or a real number within a range. `true` is not a number, and 3.0 not an integer."""

    integer: bool
    range: Range | None = None

    def accepts(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            return False
        return self.range is None or value in self.range

    def __str__(self) -> str:
        name = "a whole number" if self.integer else "a number"
        if self.range is None:
            return name
        joint = " of " if str(self.range).startswith("at least") else " "
        return f"{name}{joint}{self.range}"


@dataclass(frozen=True)
class String(Kind):
    """A string; a path too."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return "text"


@dataclass(frozen=True)
class Boolean(Kind):
    """True or false."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few values. `32` and `"32"` differ, and so do `1` and `true`."""

    values: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        return any(type(value) is type(known) and value == known for known in self.values)

    def __str__(self) -> str:
        names = list(dict.fromkeys(format_value(value) for value in self.values))
        return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


@dataclass(frozen=True)
class ListOf(Kind):
    """A list whose entries are all of one kind, or of one kind each."""

    of: tuple[Kind, ...] = (ANYTHING,)
    fixed: bool = False

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        if self.fixed:
            return len(value) == len(self.of) and all(map(Kind.accepts_node, self.of, value))
        return all(self.of[0].accepts_node(entry) for entry in value)

    def __str__(self) -> str:
        if self.fixed and len(set(self.of)) > 1:
            return f"a list of {len(self.of)}: {', '.join(map(str, self.of))}"
        if self.fixed:
            return f"a list of {len(self.of)}, each entry {self.of[0]}"
        return "a list" if self.of[0] is ANYTHING else f"a list, each entry {self.of[0]}"


@dataclass(frozen=True)
class MappingOf(Kind):
    """A mapping from names to values of one kind."""

    of: Kind = ANYTHING

    def accepts(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(self.of.accepts_node(entry) for entry in value.values())

    def __str__(self) -> str:
        return "a mapping" if self.of is ANYTHING else f"a mapping whose values are each {self.of}"


@dataclass(frozen=True)
class Union(Kind):
    """Any of several kinds."""

    kinds: tuple[Kind, ...]

    def accepts(self, value: Any) -> bool:
        return any(kind.accepts(value) for kind in self.kinds)

    def suggest(self, value: Any) -> str | None:
        return next(filter(None, (kind.suggest(value) for kind in self.kinds)), None)

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(map(str, self.kinds)))


def make_union(kinds: Sequence[Kind]) -> Kind:
    """Return the union of several kinds; one that accepts everything makes the whole accept everything."""
    flat = [part for kind in kinds for part in (kind.kinds if isinstance(kind, Union) else (kind,))]
    flat = [kind for kind in flat if not isinstance(kind, Object)] or [ANYTHING]
    if any(type(kind) is Kind for kind in flat):
        return ANYTHING
    choices = tuple(value for kind in flat if isinstance(kind, Choice) for value in kind.values)
    rest = [kind for kind in dict.fromkeys(flat) if not isinstance(kind, Choice)]
    # null reads best at the end: "a whole number of at least 1 or null".
    values = tuple(sorted(dict.fromkeys(choices), key=lambda value: value is None)) if choices else ()
    merged = rest + ([Choice(values)] if values else [])
    return merged[0] if len(merged) == 1 else Union(tuple(merged))


def format_value(value: Any) -> str:
    """Format a value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if value == "":
        return '""'
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{format_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(format_value, value)) + "]"
    return str(value)
