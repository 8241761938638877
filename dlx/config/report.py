"""Report all mistakes at once: what was given, what is needed, what to type, and the file and line it belongs to."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dlx.errors import UsageError


class Location(NamedTuple):
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        try:
            near = self.file.relative_to(Path.cwd())
        except ValueError:
            near = self.file
        return f"{near}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One mistake."""

    given: str  # as it was typed, or `file:line`
    what: str  # what is wrong with it and what is needed
    remedy: str = ""  # what to type
    where: Location | None = None  # where the right key lives

    def __str__(self) -> str:
        joint = " " if self.what.endswith("?") else "; "
        text = f"{self.given}: {self.what}" + (f"{joint}{self.remedy}" if self.remedy else "")
        return restore_log_sweeps(text) + (f"\n    {self.where}" if self.where else "")


class ConfigError(UsageError):
    """A configuration with mistakes, all of them in `problems`; nothing was started."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = len(self.problems)
        head = f"{count} mistakes in the configuration" if count > 1 else "a mistake in the configuration"
        super().__init__(f"{head}; nothing was started\n" + "\n".join(f"  {_indent(p)}" for p in self.problems))


def _indent(problem: Problem) -> str:
    return str(problem).replace("\n", "\n  ")


def find_closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, None where none is close."""
    lowered = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def join_names(names: Iterable[str], most: int = 24) -> str:
    """Join names for a sentence; of very many, the first ones."""
    known = list(names)
    shown = ", ".join(known[:most])
    return f"{shown} and {len(known) - most} more" if len(known) > most else shown


def restore_log_sweeps(text: str) -> str:
    """Write `tag(log,interval(a,b))` in a text as `log(a,b)` again, as it was typed."""
    return re.sub(r"tag\(log,\s*interval\(([^()]*)\)\)", r"log(\1)", text)
