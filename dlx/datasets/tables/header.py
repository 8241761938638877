"""Whether the first line of a table names its columns: told by the type of each column, else guessed, and said so."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

MIN_ROWS = 4  # below the first line, before repeated texts are taken for categories


class HeaderGuess(NamedTuple):
    """What the first line is, and what to tell the user where that is a guess."""

    has_header: bool
    note: str | None = None


class _Column(NamedTuple):
    """What stands below the first line."""

    numbers: list[float]  # of the cells that are numbers
    texts: list[str]  # of those that are not, gaps apart

    @property
    def is_numeric(self) -> bool:
        return bool(self.numbers) and not self.texts

    @property
    def is_counted(self) -> bool:
        """Whether it counts the rows from 0 or 1."""
        if not self.is_numeric or self.numbers[0] not in (0, 1):
            return False
        return self.numbers == [self.numbers[0] + i for i in range(len(self.numbers))]

    @property
    def is_categorical(self) -> bool:
        """Whether texts repeat, so that another one would be strange."""
        values = len(self.texts) + len(self.numbers)
        return bool(self.texts) and values >= MIN_ROWS and 2 * len({*self.texts, *self.numbers}) <= values


def guess_header(
    rows: Sequence[Sequence[str]], parse: Callable[[str], float | None], missing: Collection[str]
) -> HeaderGuess:
    """Guess whether the first of some rows of one width is a header.

    It is one if a cell of it is text above numbers, or a text that its column's repeated categories do not know and
    the numbers beside it are no values of their columns (400, 410, 420, species), or if nothing stands above a column
    that counts the rows, as indices are saved. It is none if it holds a category.

    Args:
        rows: the first ones of the file, cells as text.
        parse: reads a number; None for text.
        missing: cells that stand for gaps.
    """
    first, body = rows[0], rows[1:]
    above = [None if cell in missing else parse(cell) for cell in first]
    is_text = [number is None and cell not in missing for number, cell in zip(above, first, strict=True)]
    if not body:
        return HeaderGuess(all(is_text))
    columns = [_describe(cells, parse, missing) for cells in zip(*body, strict=True)]
    shown = ", ".join(first[:6]) + (", …" if len(first) > 6 else "")
    guess = f"the first line ({shown}) was taken for the columns' names: a guess; dataset.header=false if it is data"
    if any(cell == "" and column.is_counted for cell, column in zip(first, columns, strict=True)):  # a saved index
        return HeaderGuess(True, guess if any(number is not None for number in above) else None)
    if any(text and column.is_numeric for text, column in zip(is_text, columns, strict=True)):
        return HeaderGuess(True, guess if any(number is not None for number in above) else None)
    categorical = [i for i, column in enumerate(columns) if column.is_categorical and first[i] not in missing]
    if any(first[i] in columns[i].texts for i in categorical):
        return HeaderGuess(False)
    if categorical and (all(is_text) or _are_names(above, columns)):
        return HeaderGuess(True, None if all(is_text) else guess)
    if all(is_text) or _had_header(first, above, body[0], parse):
        return HeaderGuess(True, guess)
    if categorical or (len(first) > 2 and None not in above and len(body) >= MIN_ROWS and _are_names(above, columns)):
        guess = f"the first line ({shown}) was taken for data: a guess; dataset.header=true if it names the columns"
        return HeaderGuess(False, guess)
    return HeaderGuess(False)


def _describe(cells: Sequence[str], parse: Callable[[str], float | None], missing: Collection[str]) -> _Column:
    present = [(cell, parse(cell)) for cell in cells if cell not in missing]
    return _Column([n for _, n in present if n is not None], [cell for cell, n in present if n is None])


def _are_names(above: Sequence[float | None], columns: Sequence[_Column]) -> bool:
    """Return whether numbers in the first line are none of the data's: out of range, or whole above fractions."""
    pairs = [(number, c.numbers) for number, c in zip(above, columns, strict=True) if number is not None and c.numbers]
    outside = [not min(numbers) <= number <= max(numbers) for number, numbers in pairs]
    whole = [number.is_integer() and not all(value.is_integer() for value in numbers) for number, numbers in pairs]
    return bool(pairs) and (all(outside) or all(whole))


def _had_header(
    first: Sequence[str],
    above: Sequence[float | None],
    second: Sequence[str],
    parse: Callable[[str], float | None],
) -> bool:
    """Return whether the first line looks like a header beside the second line, or counts the columns.

    pandas calls columns without names 0, 1, 2, …: numbers, but not the data's.
    """
    below = [parse(cell) for cell in second]
    if any(a is None and b is not None and cell for cell, a, b in zip(first, above, below, strict=True)):
        return True
    is_counted = first[0] == "0" and all(
        number is None or cell == str(i) for i, (number, cell) in enumerate(zip(above, first, strict=True))
    )
    return is_counted and (len(first) > 2 or None in above or None in below)
