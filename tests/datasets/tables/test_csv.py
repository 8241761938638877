"""The user's own tables: every usual way of writing one is read alike, and what is bad is named."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.datasets.tables import cells
from dlx.datasets.tables.csv import Csv
from dlx.errors import UsageError
from tests.datasets.test_user_data import every, write


def table(content: str | bytes, **options) -> Csv:
    dataset = Csv(path=write(content), **options)
    dataset.load()
    return dataset


ROWS = [[i, i * 0.5, "ab"[i % 2]] for i in range(20)]
LINES = "\n".join(f"{a},{b},{c}" for a, b, c in ROWS)


# -- csv: what is good ------------------------------------------------------------------------------------------------


def test_a_table_with_a_header_and_text_classes() -> None:
    dataset = table("one,two,kind\n" + LINES, scale="none")
    assert (dataset.shape, dataset.classes, dataset.outputs, dataset.names) == ((2,), 2, 2, ["a", "b"])
    assert (dataset.columns, dataset.target) == (["one", "two"], "kind")
    assert every(dataset) == [[a, b] for a, b, _ in ROWS]
    for part in dataset.splits.values():
        assert torch.equal(part.y, part.x[:, 0].long() % 2)


@pytest.mark.parametrize(
    "content",
    [
        LINES,  # no header
        "one,two,kind\r\n" + LINES.replace("\n", "\r\n") + "\r\n\r\n",
        b"\xef\xbb\xbfone,two,kind\n" + LINES.encode(),  # a byte order mark
        ("one,two,kind\n" + LINES).encode("utf-16"),
        "one;two;kind\n" + LINES.replace(",", ";"),
        "one\ttwo\tkind\n" + LINES.replace(",", "\t"),
        "one  two kind\n" + LINES.replace(",", "   "),
        '"one","two","kind"\n' + "\n".join(f'"{a}","{b}","{c}"' for a, b, c in ROWS),
        "0,1,2\n" + LINES,  # what pandas calls columns without names
        "0,1,kind\n" + LINES,
        ",one,two,kind\n" + "\n".join(f"{i},{line}" for i, line in enumerate(LINES.split("\n"))),  # a saved index
        "one,two,kind\n\n" + LINES.replace("\n", "\n\n"),
    ],
)
def test_every_way_to_write_the_same_table(content: str | bytes) -> None:
    dataset = table(content, scale="none")
    assert every(dataset) == [[a, b] for a, b, _ in ROWS]
    assert sorted(every(dataset, "y")) == [0] * 10 + [1] * 10


def test_a_decimal_comma() -> None:
    content = "a;b;c\n" + "\n".join(f"{i},5;{i};{i % 2}" for i in range(10))
    dataset = table(content, decimal=",", scale="none")
    assert every(dataset) == [[i + 0.5, i] for i in range(10)]


@pytest.mark.parametrize(
    ("values", "kind", "names"),
    [
        ([i % 3 + 1 for i in range(30)], "classes", ["1", "2", "3"]),
        ([float(i % 2) for i in range(30)], "classes", ["0", "1"]),
        (["yes", "no"] * 15, "classes", ["no", "yes"]),
        (["none", "mild"] * 15, "classes", ["mild", "none"]),
        ([True, False] * 15, "classes", ["False", "True"]),
        ([i * 0.25 for i in range(30)], "numbers", None),
        (list(range(1000, 1030)), "numbers", None),
    ],
)
def test_what_kind_of_target_it_is(values: list, kind: str, names: list | None) -> None:
    content = "x,y\n" + "\n".join(f"{i},{value}" for i, value in enumerate(values))
    dataset = table(content, scale_target="none")
    assert dataset.target_type == kind
    assert dataset.names == names
    assert (dataset.classes, dataset.outputs) == ((len(names), len(names)) if names else (None, 1))
    if not names:
        assert every(dataset, "y") == [[value] for value in values]


def test_the_target_may_be_any_column_several_or_none() -> None:
    content = "y,a,b,z\n" + "\n".join(f"{i % 2},{i},{2 * i},{i / 3}" for i in range(20))
    assert table(content, target="y").columns == ["a", "b", "z"]
    assert table(content, target=0, ignore=["z"]).columns == ["a", "b"]
    assert table(content, target="y", columns=["b"]).columns == ["b"]
    several = table(content, target=["a", "z"], scale="none")
    assert (several.outputs, several.classes, several.columns) == (2, None, ["y", "b"])
    none = table(content, target=None)
    assert (none.shape, none.splits["train"].y) == ((4,), None)
    assert table(content, target="a", target_type="numbers").classes is None


def test_text_becomes_columns() -> None:
    content = "colour,size,y\n" + "\n".join(f"{'rgb'[i % 3]},{i},{i % 2}" for i in range(12))
    dataset = table(content, one_hot=True, scale="none")
    assert dataset.columns == ["colour=b", "colour=g", "colour=r", "size"]
    for part in dataset.splits.values():
        for row in part.x.tolist():
            assert row[:3] == [float("rgb"[int(row[3]) % 3] == c) for c in "bgr"]


def test_a_test_file_of_its_own_with_columns_in_another_order() -> None:
    write("kind,two,one\na,7,8\nb,9,10\n", "other.csv")
    dataset = table("one,two,kind\n" + LINES, test_path="other.csv", scale="none")
    assert dataset.splits["test"].x.tolist() == [[8, 7], [10, 9]]
    assert dataset.splits["test"].y.tolist() == [0, 1]
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 20
    write("kind,two,one\nc,7,8\n", "other.csv")
    with pytest.raises(UsageError, match=r"other\.csv, column 'kind' holds 'c' in row 0 .*has the classes a, b only"):
        dataset.load()


def test_gaps_are_dropped_or_filled_by_the_training_mean() -> None:
    content = "a,b,y\n" + "\n".join(f"{i},{'' if i % 5 == 0 else i},{i % 2}" for i in range(50))
    dropped = table(content, missing="drop", scale="none")
    assert sum(len(part) for part in dropped.splits.values()) == 40
    filled = table(content, missing="mean", scale="none")
    train = filled.splits["train"].x
    known = train[train[:, 0] % 5 != 0]
    assert torch.allclose(train[train[:, 0] % 5 == 0][:, 1], known[:, 1].mean())
    test = filled.splits["test"].x
    assert torch.allclose(test[test[:, 0] % 5 == 0][:, 1], known[:, 1].mean())
    assert table(content, missing="mean").transform(test, False).isfinite().all()


def test_new_rows_for_prediction() -> None:
    dataset = table("one,two,kind\n" + LINES, scale="none")
    wanted = [[1, 2], [3, 4]]
    for content in (
        "one,two\n1,2\n3,4\n",
        "two,one\n2,1\n4,3\n",
        "kind,two,one\na,2,1\nb,4,3\n",
        "1,2\n3,4\n",
        "1,2,a\n3,4,b",
    ):
        assert dataset.inputs(Path(write(content, "new.csv"))).x.tolist() == wanted
    first = table("kind,one,two\n" + "\n".join(f"{c},{a},{b}" for a, b, c in ROWS), target=0, scale="none")
    for content in ("1,2\n3,4\n", "a,1,2\nb,3,4\n"):
        assert first.inputs(Path(write(content, "new.csv"))).x.tolist() == wanted
    with pytest.raises(UsageError, match=r"new\.csv has 5 columns; needed: 3"):
        dataset.inputs(Path(write("1,2,3,4,5\n", "new.csv")))
    filled = table("a,b,y\n" + "\n".join(f"{i},{i},{i % 2}" for i in range(20)), missing="mean")
    assert filled.inputs(Path(write("a,b\n,5\n", "new.csv"))).x.isfinite().all()


def test_the_same_numbers_as_pythons_own_reader() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 6)) * 10.0 ** random.integers(-8, 8, (200, 6))
    text = io.StringIO()
    csv.writer(text).writerows([*([repr(float(v)) for v in row] for row in values)])
    dataset = table(text.getvalue(), target=None, scale="none")
    assert every(dataset) == sorted(values.tolist())


# -- csv: what is bad -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, r"data\.csv is empty; needed: at least one row"),
        ("\n\n", {}, "is empty"),
        ("a,b,y\n", {}, "has a header and no rows"),
        ("a,b,y\n1,2,0\n1,2\n1,2,1\n", {}, r"data\.csv, line 3 has 2 columns; needed: 3, as in line 1"),
        ("a,b,y\n1,2,0\n\n1,2,3,4\n", {}, "line 4 has 4 columns; needed: 3"),
        (
            "age,colour,shape,y\n1,2,round,0\n4,red,flat,1\n5,6,flat,0\n",
            {},
            r"data\.csv, line 3, column 'colour' holds text \('red'\); needed: numbers; type "
            r"'dataset\.ignore=\[colour,shape\]' to leave such columns out, or dataset\.one_hot=true",
        ),
        ("a;y\n1,5;0\n2,5;1\n", {}, r"line 2, column 'a' holds text \('1,5'\).* or dataset\.decimal=',' if"),
        (
            "a,b,y\n1,,0\n2,3,1\n,nan,0\n",
            {},
            r"data\.csv, line 4, column 'a' is empty \(3 gaps in the columns a, b\); needed: a value; type "
            r"dataset\.missing=mean .* or dataset\.missing=drop",
        ),
        ("a,y\n1,0\n2,\n3,1\n", {"missing": "mean"}, r"line 3, column 'y' is empty; .* type dataset\.missing=drop"),
        ("a,b,y\n1,,0\n2,,1\n", {"missing": "mean"}, r"column 'b' holds no values; type 'dataset\.ignore=\[b\]'"),
        ("a,b,y\n1,,0\n2,,1\n", {"missing": "drop"}, r"has a gap in every row; type dataset\.missing=mean"),
        ("a,y\n1,0\ninf,1\n", {}, "line 3, column 'a' holds inf; needed: a finite number"),
        ("a,y\n1,0.5\n3,inf\n", {"target_type": "numbers"}, "line 3, column 'y' holds inf; needed: a finite number"),
        ("a,y\n1,0\n2,0\n", {}, "has one class only"),
        ("a,y\n1,0\n2,1\n", {"target": "z"}, r"dataset\.target=z was given; data\.csv has the columns a, y"),
        ("a,label\n1,0\n2,1\n", {"target": "lable"}, "did you mean label"),
        ("a,y\n1,0\n2,1\n", {"target": 5}, r"dataset\.target=5 was given"),
        ("a,y\n1,0\n2,1\n", {"ignore": ["b"]}, r"dataset\.ignore=b was given"),
        ("a,y\n1,0\n2,1\n", {"ignore": ["a"]}, "has no column besides the target"),
        ("a,y\n1,0\n2,1\n", {"columns": ["a", "y"]}, "the target 'y' is among dataset.columns"),
        ("y\n1\n2\n", {}, "has no column besides the target"),
        ("a,y\n1,red\n2,blue\n", {"target_type": "numbers"}, "column 'y' holds text"),
        ("a,b,y\n1,x,2\n", {"target": ["b", "y"]}, "several targets were given and one holds text"),
        ("a,a,y\n1,2,0\n", {}, "has two columns named 'a'"),
        ('a,y\n1,"0\n2,1\n', {}, r"line 3 cannot be read .*look at its quotes"),
        (b"a,y\n1,0\n2,\xe9\n", {}, r"line 3 is not utf-8 text \(byte 0xe9\); .*dataset\.encoding=latin-1"),
        (b"PK\x03\x04rest", {}, "is a spreadsheet or an archive; .* save it as CSV"),
        (b"a,y\n1,\x000\n", {}, "holds binary data"),
        ("a,y\n1,0\n", {"encoding": "utf-99"}, r"dataset\.encoding=utf-99 was given"),
        ("a,y\n1,0\n", {"delimiter": "::"}, r"dataset\.delimiter=:: was given; needed: one character"),
        (
            "a,y\n1,0\n2,1\n",
            {"test_path": "nowhere.csv"},
            r"dataset\.test_path=nowhere\.csv was given; there is no such",
        ),
    ],
)
def test_a_bad_table_is_named(content: str | bytes, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        table(content, **options)


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"dataset\.path is not set; .*type dataset\.path=FILE\.csv"):
        Csv().load()
    write("a,y\n1,0\n", "here.csv")
    with pytest.raises(UsageError, match=r"no such file or folder in .*, which holds here\.csv"):
        Csv(path="there.csv").load()
    with pytest.raises(UsageError, match="there is no folder"):
        Csv(path="no/where/there.csv").load()
    Path("folder").mkdir()
    with pytest.raises(UsageError, match="is a folder; needed: a file"):
        Csv(path="folder").load()


def test_too_many_texts_for_columns() -> None:
    content = "name,a,y\n" + "\n".join(f"n{i},{i},{i % 2}" for i in range(150))
    with pytest.raises(UsageError, match=r"column 'name' holds 150 different texts; .*'dataset\.ignore=\[name\]'"):
        table(content, one_hot=True)


@pytest.mark.parametrize(
    ("line", "mark"), [("1,2,3", ","), ("1;2;3", ";"), ("1,5;2,5", ";"), ("1\t2", "\t"), ("1 2", " "), ("1|2", "|")]
)
def test_the_delimiter(line: str, mark: str) -> None:
    assert cells._detect_delimiter([line, line, line]) == mark
