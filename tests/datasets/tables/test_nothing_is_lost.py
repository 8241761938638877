"""Nothing is lost without a word: each reader's lossy choices leave a note, or are an error that names the cell."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from dlx.datasets.npz import Npz
from dlx.datasets.sequences.timeseries import TimeSeries
from dlx.datasets.tables import text_stream
from dlx.datasets.tables.csv import Csv
from dlx.datasets.tables.delimited import DelimitedFile
from dlx.errors import UsageError
from tests.conftest import loaded
from tests.datasets.test_user_data import every, write


def table(rows: list, header: str = "a,b,y", name: str = "data.csv", **options) -> Csv:
    return loaded(Csv(write("\n".join([header, *(",".join(map(str, row)) for row in rows)]), name), **options))


def fit(dataset: Csv) -> float:
    """R² on the test split of least squares by hand, on what a model would see."""
    part, train = dataset.splits["test"], dataset.splits["train"]
    x = dataset.transform(train.x, False), dataset.transform(part.x, False)
    assert x[0].dtype == train.y.dtype == torch.float32
    return LinearRegression().fit(x[0], train.y).score(x[1], part.y)


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (["1_10", "11_0", "2_5"], {}),
        (["01234", "1234", "02139"], {}),
        (["9007199254740992", "9007199254740993", "9007199254741000"], {}),
        (["3.1", "3.10", "3.9"], {"target_type": "classes"}),
        (["2", "2.0", "10"], {"target_type": "classes"}),
        (["true", "True", "x"], {}),
    ],
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_labels_that_differ_as_text_are_different_classes(labels: list, options: dict, separator: str) -> None:
    """The case labels_merged."""
    rows = [f"{i}{separator}{-i}{separator}{labels[i % 3]}" for i in range(30)]
    dataset = loaded(Csv(write("\n".join([f"a{separator}b{separator}y", *rows])), scale="none", **options))
    assert set(dataset.names) == set(labels)
    for part in dataset.splits.values():
        assert [dataset.names[y] for y in part.y.tolist()] == [labels[int(i) % 3] for i in part.x[:, 0].tolist()]
    if "_" in labels[0] or labels[0] in ("01234", "3.1"):
        series = "\n".join(f"{labels[i % 3]}{separator}1{separator}{i}" for i in range(30))
        assert set(loaded(TimeSeries(write(series, "a.tsv"), **options)).names) == set(labels)
    np.savez("data.npz", x=np.arange(30.0), y=np.array(labels * 10))
    assert set(loaded(Npz("data.npz")).names) == set(labels)


def test_labels_are_ordered_by_value_where_all_are_numbers() -> None:
    rows = [[i, i, (10, 9, -1)[i % 3]] for i in range(30)]
    assert table(rows).names == ["-1", "9", "10"]
    assert table([[a, b, f"{y}.0"] for a, b, y in rows]).names == ["-1", "9", "10"]
    assert table([[a, b, "x" if y == 9 else y] for a, b, y in rows]).names == ["-1", "10", "x"]
    np.savez("data.npz", x=np.arange(30.0), y=np.array(["10", "9", "-1"] * 10))
    assert loaded(Npz("data.npz")).names == ["-1", "9", "10"]
    write("a,b,y\n1,2,9.0\n1,2,-1\n", "test.csv")  # the training file writes 9
    assert table(rows, test_path="test.csv").splits["test"].y.tolist() == [1, 0]


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_decimal_commas_beside_thousands() -> None:
    """The case decimal_comma_thousands."""
    values = [round(0.5 + 97.3 * i, 1) for i in range(40)]
    german = [f"{v:,.1f}".replace(",", "_").replace(".", ",").replace("_", ".").removesuffix(",0") for v in values]
    rows = "\n".join(["x;y", *(f"{x};{str(3 * v).replace('.', ',')}" for x, v in zip(german, values, strict=True))])
    write(rows)
    line = next(i for i, cell in enumerate(german, 2) if "." in cell)
    with pytest.raises(
        UsageError, match=rf"line {line}, column 'x' holds '{german[line - 2]}'.*dataset\.thousands='\.'"
    ):
        Csv("data.csv", decimal=",").load()
    with pytest.raises(UsageError, match=r"dataset\.thousands='\.'"):
        Csv("data.csv", decimal=",", one_hot=True).load()
    dataset = loaded(Csv("data.csv", decimal=",", thousands=".", scale="none"))
    assert every(dataset) == [[value] for value in values]
    assert fit(dataset) == pytest.approx(1, abs=1e-9)
    for thousands in (",", "..", "1"):
        with pytest.raises(UsageError, match="needed: one character that is no decimal point"):
            Csv("data.csv", decimal=",", thousands=thousands)
    with pytest.raises(UsageError, match=r"line 3, column 'y' holds '1,234'.*dataset\.thousands=','"):
        table([[1, 2, "5"], [1, 2, '"1,234"'], [1, 2, "7"]])


@pytest.mark.parametrize("kind", ["csv", "npz", "targets"])
def test_numbers_are_float64_until_they_are_scaled(kind: str) -> None:
    """The case float32_before_scaling: milliseconds since 1970, of which float32 keeps steps of 131 seconds."""
    t, y = 1.7e12 + 1000 * np.arange(100.0), 0.25 + 0.5 * np.arange(100)
    if kind == "targets":
        t, y = y, t
    if kind == "csv":
        dataset = loaded(Csv(write("t,y\n" + "\n".join(f"{a:.1f},{b}" for a, b in zip(t, y, strict=True)))))
    else:
        np.savez("data.npz", x=t[:, None], y=y)
        dataset = loaded(Npz("data.npz"))
    assert fit(dataset) == pytest.approx(1, abs=1e-9)
    train = dataset.splits["train"]
    assert (train.x.dtype, dataset.target_mean.dtype) == (torch.float64, torch.float64)
    back = train.y * dataset.target_std + dataset.target_mean
    assert float(back.mean()) == pytest.approx(float(dataset.target_mean), rel=1e-8)
    rough = Csv("data.csv", scale="none", scale_target="none") if kind == "csv" else Npz("data.npz", scale="none")
    if kind != "targets":
        assert any("float32 keeps to a few digits" in note for note in loaded(rough).notes)


def test_series_are_float64_until_they_are_scaled() -> None:
    steps = 1.7e12 + 1000 * np.random.default_rng(0).integers(0, 50, (30, 8))
    rows = "\n".join("\t".join([str(i % 2), *map(str, row)]) for i, row in enumerate(steps.astype(int)))
    dataset = loaded(TimeSeries(write(rows, "a.tsv"), val=0, test=0))
    seen = dataset.transform(dataset.splits["train"].x, False)
    wanted = (steps - steps.mean()) / steps.std()
    assert seen.dtype == torch.float32
    np.testing.assert_allclose(np.sort(seen.flatten()), np.sort(wanted.flatten()), atol=1e-6)


# -- gaps and categories ----------------------------------------------------------------------------------------------

REGIONS = [[i, -i, ("EU", "NA", "AS")[i % 3]] for i in range(90)]


def test_a_class_called_na() -> None:
    """The case na_class."""
    with pytest.raises(
        UsageError,
        match=r"line 3, column 'y' holds 'NA', which stands for a gap \(30 gaps .*type dataset\.missing=drop to leave "
        r"such rows out, or \"dataset\.missing_values=\[''\]\" to keep 'NA' as a name",
    ):
        table(REGIONS)
    assert table(REGIONS, missing_values=[""]).names == ["AS", "EU", "NA"]
    dropped = table(REGIONS, missing="drop")
    assert dropped.names == ["AS", "EU"]
    assert "data.csv: 30 of 90 rows dropped: gaps in y; class NA gone" in dropped.notes


def test_what_stands_for_a_gap_may_be_said() -> None:
    rows = [[i, -999 if i % 5 == 0 else i, "ab"[i % 2]] for i in range(50)]
    for missing in ([-999], ["-999.0"]):
        dataset = table(rows, missing="drop", missing_values=missing)
        assert sum(map(len, dataset.splits.values())) == 40
    with pytest.raises(UsageError, match=r"line 2, column 'b' holds '-999', which stands for a gap"):
        table(rows, missing_values=[-999])
    with pytest.raises(UsageError, match=r"column 'a' holds text \('NA'\)"):
        table([["NA", 1, "a"], [2, 3, "b"], [1, 1, "b"]], missing_values=[""])
    assert table([[None, 1, "null"], [2, 3, "b"]] * 9, missing_values=["None"], missing="mean").names == ["b", "null"]


def test_a_class_whose_rows_all_have_gaps_is_said_to_be_gone() -> None:
    rows = [[i, "" if i % 3 == 2 else i, "abc"[i % 3]] for i in range(60)]
    assert "data.csv: 20 of 60 rows dropped: gaps in b; class c gone" in table(rows, missing="drop").notes


COLOURS = [[("red", "green", "blue")[i % 3], i, 10 * (i % 3)] for i in range(90)]


def test_categories_that_training_did_not_see() -> None:
    """The case unseen_category."""
    options = {"one_hot": True, "target_type": "numbers", "scale": "none"}
    dataset = table(COLOURS, "colour,size,y", **options)
    path = Path(write("colour,size\nred,0\nRed,0\nviolet,0\n", "new.csv"))
    with pytest.raises(UsageError, match=r"new\.csv, line 3, column 'colour' holds 'Red', .*blue, green, red.*=ignore"):
        dataset.inputs(path)
    write("colour,size,y\nred,0,1\nviolet,0,1\n", "test.csv")
    with pytest.raises(UsageError, match=r"test\.csv, line 3, column 'colour' holds 'violet'"):
        table(COLOURS, "colour,size,y", test_path="test.csv", **options)
    lenient = table(COLOURS, "colour,size,y", unknown="ignore", **options)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(np.array(COLOURS, dtype=object)[:, :1])
    wanted = encoder.transform(np.array([["red"], ["Red"], ["violet"]], dtype=object))
    assert lenient.inputs(path).x[:, :3].tolist() == wanted.tolist()
    assert any("2 of 3 cells of column 'colour' hold values that training did not see" in n for n in lenient.notes)


def test_true_and_false_are_two_categories() -> None:
    rows = [[str(i % 2 == 0).lower(), i, "ab"[i % 3 == 0]] for i in range(30)]
    assert table(rows, one_hot=True).columns == ["a=false", "a=true", "b"]
    plain = table(rows, scale="none")
    assert plain.columns == ["a", "b"]
    assert every(plain) == sorted([float(i % 2 == 0), float(i)] for i in range(30))
    assert "data.csv: column 'a' holds false and true, taken for 0 and 1" in plain.notes
    with pytest.raises(UsageError, match="line 2, column 'a' holds 'yes', which training did not see"):
        plain.inputs(Path(write("a,b\nyes,1\n", "new.csv")))


def test_new_rows_with_gaps_are_refused_whatever_training_did() -> None:
    rows = [[i, "" if i % 5 == 0 else i, "ab"[i % 2]] for i in range(50)]
    with pytest.raises(UsageError, match=r"new\.csv, line 3, column 'b' is empty; needed: a value; fill it in or"):
        table(rows, missing="drop").inputs(Path(write("a,b\n1,2\n1,\n", "new.csv")))
    assert table(rows, missing="mean").inputs(Path("new.csv")).x.isfinite().all()


# -- every reader, every lossy choice ---------------------------------------------------------------------------------

NUMBERS = "\n".join(f"{i % 3}\t{i}\t{i + 1}" for i in range(30))
GAPS = "a,b,y\n" + "\n".join(f"{i},{'' if i % 5 == 0 else i},{'uv'[i % 2]}" for i in range(50))


@pytest.mark.parametrize(
    ("make", "content", "options", "note"),
    [
        (Csv, GAPS, {"missing": "drop"}, "10 of 50 rows dropped: gaps in b"),
        (Csv, GAPS, {"missing": "mean"}, "10 gaps in the columns b were filled with the mean"),
        (Csv, GAPS.replace("a,b,y", ",b,y"), {"missing": "mean"}, "column 1 has no name and was left out"),
        (Csv, GAPS.replace("a,b,y", "0,1,y"), {"missing": "mean"}, "was taken for the columns' names: a guess"),
        (Csv, NUMBERS, {"target": 0}, "3 different whole numbers, taken for classes"),
        (Csv, NUMBERS, {}, "30 different whole numbers, taken for numbers"),
        (Csv, NUMBERS.replace("\t", ","), {"target": 0}, "3 different whole numbers, taken for classes"),
        (TimeSeries, NUMBERS, {}, "labels that are numbers, taken for classes"),
        (TimeSeries, NUMBERS.replace("1\t1\t", "1\t?\t"), {"missing": "interpolate"}, "1 gaps in 1 series were filled"),
        (TimeSeries, "1.0\t1\t2\n" + NUMBERS, {}, "the labels 1 and 1.0 are one class, 1"),
        (Npz, {"x": np.eye(30), "y": np.arange(30) % 3}, {}, "3 different whole numbers, taken for classes"),
        (Npz, {"x": np.eye(30), "y": np.arange(30)}, {}, "30 different whole numbers, taken for numbers"),
        (Npz, {"x": np.full((30, 2), 2**60)}, {"y": "none"}, "whole numbers beyond 2^53 were rounded to float64"),
        (Npz, {"x": np.eye(30), "y": np.arange(30) + 2**60}, {}, "beyond 2^53 were rounded to float64"),
        (Npz, {"x": np.eye(30) + 1e7}, {"scale": "none"}, "float32 keeps to a few digits only"),
    ],
)
def test_whatever_is_discarded_cast_or_guessed_leaves_a_note(make, content, options: dict, note: str) -> None:
    if isinstance(content, dict):
        np.savez("data.npz", **content)
        dataset = loaded(make("data.npz", **options))
    else:
        dataset = loaded(make(write(content, "data.tsv"), **options))
    assert [n for n in dataset.notes if note in n], dataset.notes
    assert all(n.startswith("data.") for n in dataset.notes)


# -- the reader -------------------------------------------------------------------------------------------------------


def test_any_file_is_read_as_pythons_reader_does(monkeypatch) -> None:
    """In blocks of a few bytes, so that cells, quotes and characters fall on their borders."""
    random = np.random.default_rng(0)
    pieces = ["a", "é", '"', ",", "\n", " ", "7", "😀", ""]
    for trial in range(40):
        rows = [[*("".join(random.choice(pieces, 4)).strip() for _ in range(2)), str(i)] for i in range(12)]
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL if trial % 2 else csv.QUOTE_MINIMAL).writerows([["p", "q", "r"], *rows])
        content = text.getvalue().replace('","', '", "') if trial % 4 == 3 else text.getvalue()
        monkeypatch.setattr(text_stream, "BLOCK", int(random.integers(150, 400)))
        file = DelimitedFile(Path(write(content)), ",", True)
        found = file.read([2], [0, 1])
        assert found.matrix[:, 0].tolist() == list(range(12))
        for place in (0, 1):
            wanted = [row[place] for row in csv.reader(io.StringIO(content), skipinitialspace=True)][1:]
            assert [found.texts[place].values[code] for code in found.texts[place].codes] == [w.strip() for w in wanted]


@pytest.mark.parametrize("size", [2**8, 2**20])
def test_lines_are_those_of_the_file(size: int, monkeypatch) -> None:
    """With blank lines, line breaks in quotes, and quotes that are no quotes."""
    monkeypatch.setattr(text_stream, "BLOCK", size)
    rows = "".join(f'{i},"two\nlines",5" pipe\n\n' for i in range(40))
    write("a,b,c\n" + rows + "x,y,z\n")
    found = DelimitedFile(Path("data.csv")).read([0], [1, 2])
    assert (found.rows, found.first_text) == (41, {0: 40})
    assert found.describe_cell(40, 0) == "data.csv, line 122, column 'a'"
    assert found.describe_cell(39, 1) == "data.csv, line 119, column 'b'"
    assert found.read_cell(39, 1) == "two\nlines"
    assert found.texts[2].values == ['5" pipe', "z"]
    assert found.select_rows(np.arange(41) >= 39).describe_cell(1, 0) == "data.csv, line 122, column 'a'"
    write("a,b,c\n" + rows + "1,2\n")
    with pytest.raises(UsageError, match=r"line 122 has 2 columns; needed: 3, as in line 1"):
        DelimitedFile(Path("data.csv")).read([0])


def test_a_file_of_delimiters_is_refused() -> None:
    with pytest.raises(UsageError, match="holds delimiters alone"):
        Csv(write(",,\n,,\n")).load()


def test_a_column_that_turns_out_to_be_text_at_its_end_is_read_again(monkeypatch) -> None:
    monkeypatch.setattr(text_stream, "BLOCK", 2**12)
    rows = [[i, i % 7, "ab"[i % 2]] for i in range(3000)] + [["last", 3, "a"]] * 2
    dataset = table(
        [[b, a if a == "last" else a % 5, c] for a, b, c in rows], one_hot=True, scale="none", val=0, test=0
    )
    assert dataset.columns == ["a", "b=0", "b=1", "b=2", "b=3", "b=4", "b=last"]
    assert dataset.splits["train"].x[:, 1:].sum(0).tolist() == [600] * 5 + [2]


def test_the_splits_of_a_table_are_those_of_its_copy() -> None:
    rows = [[i, i / 3, "ab"[i % 2]] for i in range(100)]
    dataset, limited = table(rows, scale="none"), table(rows, scale="none", limit=1000)
    copied = super(Csv, dataset).take_parts
    parts = dataset.read()
    dataset.take_parts = copied  # type: ignore[method-assign]
    for name, part in dataset._hold_out(parts).items():
        for other in (limited, table(rows, scale="none")):
            assert torch.equal(part.x, other.splits[name].x)
            assert torch.equal(part.y, other.splits[name].y)
