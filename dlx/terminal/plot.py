"""Plot curves in a terminal, in braille characters: two by four dots a cell, a letter and a colour per curve."""

import itertools
import math
import shutil
import sys
from collections.abc import Mapping, Sequence

from dlx.terminal.terminal import format_cell

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a cell
COLOURS = (36, 33, 35, 32, 31, 34)  # cyan, yellow, magenta, green, red, blue, as terminals count them
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Points = Sequence[tuple[float, float]]


def plot(curves: Mapping[str, Points], title: str = "", width: int | None = None, height: int = 12) -> list[str]:
    """Plot curves in one frame, as lines of text; the letter of each stands at its end.

    Args:
        curves: points (x, y) by rising x, by name of the curve; values that are not finite leave a gap.
        title: a line above them.
        width: of the whole, in characters; the terminal's if None.
        height: of the plot, in lines.
    """
    width = width or min(shutil.get_terminal_size((80, 24)).columns, 100)
    finite = {name: [p for p in points if math.isfinite(p[1])] for name, points in curves.items()}
    every = [point for points in finite.values() for point in points]
    if not every:
        return []
    low, high = min(y for _, y in every), max(y for _, y in every)
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    label = max(len(format_cell(float(low))), len(format_cell(float(high))))
    columns = max(width - label - 2, 10)
    cells = [[(0, 0, "")] * columns for _ in range(height)]  # dots, whose they are, a letter instead of them
    for number, points in enumerate(finite.values()):
        for place, (x, y) in enumerate(_place_dots(points, (left, right), (low, high), columns * 2, height * 4)):
            row, column = y // 4, x // 2
            dots, _, letter = cells[row][column]
            letter = LETTERS[number % 26] if place == 0 else letter
            cells[row][column] = dots | DOTS[y % 4][x % 2], number, letter
    lines = [title] if title else []
    for row, line in enumerate(cells):
        edge = format_cell(float(high)) if row == 0 else format_cell(float(low)) if row == height - 1 else ""
        lines.append(f"{edge:>{label}} ┤" + "".join(_draw_cell(*cell) for cell in line).rstrip())
    ends = f"{format_cell(left)}", f"{format_cell(right)}"
    lines.append(" " * label + " └" + ends[0] + " " * max(columns - len(ends[0]) - len(ends[1]), 1) + ends[1])
    keys = [_colour(f"{LETTERS[number % 26]} {name}", number) for number, name in enumerate(finite)]
    return [*lines, " " * (label + 2) + "   ".join(keys)]


def _place_dots(
    points: Points, across: tuple[float, float], up: tuple[float, float], width: int, height: int
) -> list[tuple[int, int]]:
    """Return the dots of one curve: its last point first, then all points and the lines between them."""
    spans = across[1] - across[0] or 1.0, up[1] - up[0] or 1.0
    placed = [
        (round((x - across[0]) / spans[0] * (width - 1)), round((up[1] - y) / spans[1] * (height - 1)))
        for x, y in points
    ]
    dots = [*placed[-1:], *placed]
    for (x, y), (x2, y2) in itertools.pairwise(placed):
        steps = max(abs(x2 - x), abs(y2 - y))
        dots += [(x + round((x2 - x) * i / steps), y + round((y2 - y) * i / steps)) for i in range(1, steps)]
    return dots


def _draw_cell(dots: int, number: int, letter: str) -> str:
    return _colour(letter or chr(0x2800 + dots), number) if dots else " "


def _colour(words: str, number: int) -> str:
    """Colour text as its curve is, where this is a terminal."""
    if not sys.stdout.isatty():
        return words
    return f"\x1b[{COLOURS[number % len(COLOURS)]}m{words}\x1b[0m"
