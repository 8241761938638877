"""Whether the first line of a table is a header: what its columns' types say, and what is a guess is said to be one."""

import numpy as np
import pytest

from dlx.datasets.tables.csv import Csv
from dlx.datasets.tables.delimited import MISSING
from dlx.datasets.tables.header import guess_header
from dlx.datasets.tables.numbers import parse_number
from tests.conftest import loaded, write

SPECTRA = [f"{i / 7:.3f},{-i / 9:.3f},{i % 5 / 3:.3f},{('oak', 'pine')[i % 2]}" for i in range(60)]


@pytest.mark.parametrize(
    ("lines", "has_header", "is_guess"),
    [
        (["400,410,420,species", *SPECTRA], True, True),  # the case numeric_header
        (["sample,400,410,420,species", *(f"s{i:02},{row}" for i, row in enumerate(SPECTRA))], True, True),
        (SPECTRA, False, False),
        (["1,2,3,species", *SPECTRA], True, True),  # whole numbers above fractions
        (["a,b,c,species", *SPECTRA], True, False),
        (["0,1,2,3", *SPECTRA], True, True),  # pandas' names
        (["a,b"] + [f"{i},{i}" for i in range(9)], True, False),
        (["sunny,hot", *["rain,cold", "sunny,hot", "sunny,cold"] * 3], False, False),  # categories all the way
        (["sky,heat", *["rain,cold", "sunny,hot", "sunny,cold"] * 3], True, False),
        (["name,note", "x,y", "z,w"], True, True),  # it cannot be told
        (["1,2", "3,4"], False, False),
        (["2001,2002,2003", *(f"{i / 7},{i / 8},{i / 9}" for i in range(9))], False, True),  # years, perhaps
        (["1,2,a", "3,4,b"], False, False),
        (["1,2"], False, False),
        ([",class,sex", *(f"{i},{('1st', '2nd')[i % 2]},man" for i in range(1, 9))], True, False),  # a saved index
        ([",class,sex", *(f"{i},c{i},m{i}" for i in range(2))], True, False),
        ([",7,8", *(f"{i},{i / 7},{i / 8}" for i in range(9))], True, True),
        ([",3,4", *(f"{i},{i},{i}" for i in range(5, 9))], False, False),  # a gap
    ],
)
def test_the_header_is_found_by_the_type_of_each_column(lines: list[str], has_header: bool, is_guess: bool) -> None:
    guess = guess_header([line.split(",") for line in lines], parse_number, MISSING)
    assert (guess.has_header, guess.note is not None) == (has_header, is_guess)


def test_a_numeric_header_names_the_columns() -> None:
    """The case numeric_header: what dataset.header=true gives."""
    path = write("\n".join(["400,410,420,species", *SPECTRA]), "spectra.csv")
    dataset = loaded(Csv(path))
    assert (dataset.columns, dataset.names) == (["400", "410", "420"], ["oak", "pine"])
    assert sum(map(len, dataset.splits.values())) == 60
    assert any("400, 410, 420, species" in note and "dataset.header=false" in note for note in dataset.notes)
    told = loaded(Csv(path, header=True))
    assert np.array_equal(told.splits["train"].x, dataset.splits["train"].x)
    assert not any("header" in note for note in told.notes)
    assert loaded(Csv(path, header=False)).names == ["oak", "pine", "species"]


def test_a_table_of_texts_with_a_saved_index_is_read_by_its_names() -> None:
    """The form in which R saves: titanic of pydataset."""
    rows = [
        f'"{i}","{("1st", "2nd", "crew")[i % 3]}","{("man", "women")[i % 2]}","{("no", "yes")[i % 2]}"'
        for i in range(1, 40)
    ]
    dataset = loaded(
        Csv(write("\n".join(['"","class","sex","survived"', *rows]), "t.csv"), target="survived", one_hot=True)
    )
    assert dataset.columns == ["class=1st", "class=2nd", "class=crew", "sex=man", "sex=women"]
    assert dataset.names == ["no", "yes"]
    assert any("column 1 has no name and was left out" in note for note in dataset.notes)
