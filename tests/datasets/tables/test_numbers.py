"""What a number is: the grammar cell by cell, and the same for whole columns."""

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dlx.datasets.sequences.series_files import read_series
from dlx.datasets.tables.csv import Csv
from dlx.datasets.tables.delimited import DelimitedFile
from dlx.datasets.tables.numbers import find_thousands, parse_cells, parse_number
from dlx.errors import UsageError
from tests.conftest import write

GRAMMAR = re.compile(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?")
MISSING = pa.array(["", "NA"])
ODD = "9007199254740992 9007199254740993 -9007199254740993 9007199254740993.0 1e400 nan inf Infinity 0x1 1d4 ９ -0"


def truth(cell: str) -> float | None:
    """What the issue's grammar says of a cell, by its own expression."""
    if not GRAMMAR.fullmatch(cell) or not re.search("[0-9]", re.split("[eE]", cell)[0]):
        return None
    if re.fullmatch("[+-]?[0-9]+", cell) and abs(int(cell)) > 2**53:
        return None
    return None if abs(float(cell)) == float("inf") else float(cell)


CELLS = [*ODD.split(), *map("".join, itertools.chain(*(itertools.product("019.+-e_", repeat=n) for n in (1, 2, 3, 4))))]


def test_the_grammar_of_a_cell() -> None:
    assert [parse_number(cell) for cell in CELLS] == [truth(cell) for cell in CELLS]
    assert [parse_number(cell) for cell in ("01234", "1_10", "9007199254740993", "inf", "true")] == [None] * 5


def test_a_column_is_read_as_its_cells_are() -> None:
    good = [cell for cell in CELLS if truth(cell) is not None]
    bad = [cell for cell in CELLS if truth(cell) is None]
    values, row = parse_cells(pa.array(good), MISSING)
    assert row is None
    assert values.tolist() == [truth(cell) for cell in good]
    assert [parse_cells(pa.array([cell]), MISSING)[1] for cell in bad] == [0] * len(bad)
    draw = random.Random(0)
    for _ in range(500):
        cells = [draw.choice(good) if draw.random() < 0.8 else draw.choice(["", "NA"]) for _ in range(6)]
        if draw.random() < 0.5:
            cells[draw.randrange(6)] = draw.choice(bad)
        wanted = next((i for i, cell in enumerate(cells) if cell not in ("", "NA") and truth(cell) is None), None)
        values, row = parse_cells(pa.array(["before", *cells]).slice(1), MISSING)
        assert row == wanted
        if row is None:
            expected = [np.nan if cell in ("", "NA") else truth(cell) for cell in cells]
            np.testing.assert_array_equal(values, expected)


def test_decimal_commas_and_thousands() -> None:
    cells = pa.array(["1.234,5", "1.956", "526,1", "-1.234.567", "", "7e1"])
    np.testing.assert_array_equal(parse_cells(cells, MISSING, ",", ".")[0], [1234.5, 1956, 526.1, -1234567, np.nan, 70])
    assert parse_cells(cells, MISSING, ",")[1] == 0
    assert parse_cells(pa.array(["1,5", "12.34"]), MISSING, ",", ".")[1] == 1
    assert parse_number("1.234,5", ",", ".") == 1234.5
    assert [find_thousands(cell) for cell in ("1,234", "1'234'567.5", "1,23", "1234")] == [",", "'", None, None]


@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
@pytest.mark.parametrize("cell", ["01234", "1_10", "9007199254740993", "true", "0x10"])
def test_what_is_no_number_makes_its_column_text_in_every_file(separator: str, cell: str) -> None:
    rows = [["a", "b", "y"], *([str(i), str(i / 4), "no"] for i in range(30)), [cell, "1", "yes"]]
    text = "\n".join(separator.join(row) for row in rows)
    name = write(text, "data.csv")
    file = DelimitedFile(Path(name))
    assert file.read([0, 1]).first_text == {0: 30}
    with pytest.raises(UsageError, match=rf"data\.csv, line 32, column 'a' holds text \('{cell}'\)"):
        Csv(name).load()
    series = write("\n".join(separator.join(["1", "2", *(row[:2])]) for row in rows[1:]), "data.tsv")
    if separator in ",\t ":
        with pytest.raises(UsageError, match=rf"data\.tsv, line 31, step 1 \(counted from 0\): '{cell}' was given"):
            read_series(Path(series))
