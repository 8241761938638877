"""Print the results of verbs: a rich table on a terminal, plain aligned text elsewhere, JSON where asked for."""

import itertools
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlx.terminal.visible import escape_json, make_cell_visible, make_visible

BARS = "▁▂▃▄▅▆▇█"


def print_table(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Print rows; the columns are the keys of all of them, in the order in which they appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[format_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [any(_is_number(row.get(c)) for row in rows) for c in columns]
    columns, title = [make_cell_visible(column) for column in columns], make_visible(title)
    if sys.stdout.isatty():
        _print_rich(columns, cells, numeric, title)
    else:
        _print_plain(columns, cells, numeric)


def _print_rich(columns: list[str], cells: list[list[str]], numeric: list[bool], title: str) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold cyan")
    for column, right in zip(columns, numeric, strict=True):
        drawn.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in cells:
        drawn.add_row(*map(Text, row))  # Text: a list such as [256] would be read as markup
    # Too wide a table runs over the line's end; folded cells would be harder to read, and to copy.
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    console = Console(highlight=False)
    console.width = max(console.width, sum(widths) + 2 * len(widths))
    console.print(drawn)


def _print_plain(columns: list[str], cells: list[list[str]], numeric: list[bool]) -> None:
    lines = [columns, *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(padded).rstrip())


def print_json(content: Any) -> None:
    """Print the JSON document of `--json`; of what it lacks NaN becomes null, infinity "inf"."""
    print(escape_json(json.dumps(_replace_nonfinite(content), indent=2, ensure_ascii=False, default=str)))


def _replace_nonfinite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _replace_nonfinite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_replace_nonfinite(value) for value in content]
    if isinstance(content, float) and math.isinf(content):
        return "inf" if content > 0 else "-inf"
    return None if isinstance(content, float) and math.isnan(content) else content


def print_note(message: str) -> None:
    """Print a remark beside the result, on standard error."""
    print(make_visible(message), file=sys.stderr)


def print_line(text: str, flush: bool = False) -> None:
    """Print text that may hold names from files, on standard output."""
    print(make_visible(text), flush=flush)


def format_cell(value: Any) -> str:
    """Format a value for a table: floats to five significant digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.5g}"
    return make_cell_visible(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def draw_sparkline(values: Iterable[float | None], width: int = 24) -> str:
    """Draw a curve in one line of block characters; long ones are averaged, values that are not finite leave a gap."""
    points = [v if v is not None and math.isfinite(v) else math.nan for v in values]
    if len(points) > width:
        cuts = [round(i * len(points) / width) for i in range(width + 1)]
        points = [sum(points[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    finite = [v for v in points if not math.isnan(v)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    return "".join(" " if math.isnan(v) else BARS[round((v - low) / span * 7) if span else 3] for v in points)
