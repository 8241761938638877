"""Print listings, and errors on standard error; plain text where that is no terminal."""

import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from dlx.errors import DlxError
from dlx.terminal.visible import make_visible

_PACKAGE = Path(__file__).resolve().parent.parent  # dlx


def print_listing(title: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Print a heading and rows of a name, a description and a note; lines are not wrapped where this is no terminal."""
    listed = [tuple(map(make_visible, (*row, "", "")[:3])) for row in rows]
    width = max((len(row[0]) for row in listed), default=0)
    if not sys.stdout.isatty():
        print(title)
        for name, text, note in listed:
            print(f"  {name:{width}}  {text}{f'  ({note})' if note else ''}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    for style, no_wrap in (("cyan", True), ("", False), ("dim", False)):
        shown.add_column(style=style, no_wrap=no_wrap)
    for row in listed:
        shown.add_row(*map(Text, row))
    console = Console(highlight=False)
    console.print(Text(title, style="bold"))
    console.print(shown)


def is_debugging() -> bool:
    """Return whether full tracebacks are wanted: DLX_DEBUG=1, which HYDRA_FULL_ERROR=1 sets too."""
    return os.environ.get("DLX_DEBUG", "") not in ("", "0")


def show_error(error: BaseException, name: str = "dlx") -> None:
    """Print an error: a DlxError's message; for any other, a traceback from the user's own code on."""
    if is_debugging():
        traceback.print_exception(error)
    elif isinstance(error, DlxError):
        _print_error(f"{name}: {error}")
    else:
        _print_error(_format_short_traceback(_unwrap_cause(error), name))


def _print_error(text: str) -> None:
    text = make_visible(text)
    if not sys.stderr.isatty():
        print(text, file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    head, newline, rest = text.partition("\n")
    lines = Text(head, style="bold red").append(newline)
    for line in rest.splitlines(keepends=True):  # the lines that only name a file are dimmed
        lines.append(line, style="dim" if line.startswith("      ") else "")
    console.print(lines)


def _unwrap_cause(error: BaseException) -> BaseException:
    """Return the error that a constructor raised, without Hydra's wrapping."""
    while type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__
    return error


def _format_short_traceback(error: BaseException, name: str) -> str:
    """Format the traceback from the first frame of the user's own files; without one, the place of the error alone."""
    kind = f"{type(error).__name__}: {error}"
    more = "DLX_DEBUG=1 shows the whole traceback"
    own = _skip_to_user_code(error.__traceback__)
    if own is not None:
        frames = "".join(traceback.format_tb(own))
        return f"{name}: {kind}\nTraceback (most recent call last), from your own code on:\n{frames}{more}"
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = f"\n  in {frame[0].filename}:{frame[0].lineno} ({frame[0].name})" if frame else ""
    return f"{name}: {kind}{place}\n{more}"


def find_user_frame(error: BaseException) -> str | None:
    """Return the innermost line of the user's own files that an error came through, as file:line (function)."""
    trace = _skip_to_user_code(_unwrap_cause(error).__traceback__)
    frames = traceback.extract_tb(trace) if trace is not None else []
    own = [frame for frame in frames if _is_user_file(frame.filename)]
    if not own:
        return None
    file = Path(own[-1].filename)
    near = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    return f"{near}:{own[-1].lineno} ({own[-1].name})"


def _skip_to_user_code(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback from the first frame in the user's own files on; None where there is none."""
    while trace is not None:
        if _is_user_file(trace.tb_frame.f_code.co_filename):
            return trace
        trace = trace.tb_next
    return None


def _is_user_file(name: str) -> bool:
    file = Path(name)
    inside = file.is_relative_to(Path.cwd()) and not file.is_relative_to(_PACKAGE)
    return inside and "site-packages" not in file.parts and file.name != "dlx"
