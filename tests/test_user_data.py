"""The user's own tables, arrays, pictures and texts: what is good is read as it is, what is bad is named."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlx.datasets import sheet
from dlx.datasets.csv import Csv
from dlx.datasets.dataset import Stream
from dlx.datasets.image_folder import ImageFolder
from dlx.datasets.loader import Loader
from dlx.datasets.npz import Npz
from dlx.datasets.text import Text
from dlx.errors import UsageError
from tests.conftest import same


def write(content: str | bytes, name: str = "data.csv") -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def table(content: str | bytes, **options) -> Csv:
    dataset = Csv(path=write(content), **options)
    dataset.load()
    return dataset


def every(dataset, which: str = "x") -> list:
    return sorted(row for part in dataset.splits.values() for row in getattr(part, which).tolist())


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
        ([True, False] * 15, "classes", ["0", "1"]),
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
        assert dataset.inputs(Path(write(content, "new.csv"))).tolist() == wanted
    first = table("kind,one,two\n" + "\n".join(f"{c},{a},{b}" for a, b, c in ROWS), target=0, scale="none")
    for content in ("1,2\n3,4\n", "a,1,2\nb,3,4\n"):
        assert first.inputs(Path(write(content, "new.csv"))).tolist() == wanted
    with pytest.raises(UsageError, match=r"new\.csv has 5 columns; needed: 3"):
        dataset.inputs(Path(write("1,2,3,4,5\n", "new.csv")))
    filled = table("a,b,y\n" + "\n".join(f"{i},{i},{i % 2}" for i in range(20)), missing="mean")
    assert filled.inputs(Path(write("a,b\n,5\n", "new.csv"))).isfinite().all()


def test_the_same_numbers_as_pythons_own_reader() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 6)) * 10.0 ** random.integers(-8, 8, (200, 6))
    text = io.StringIO()
    csv.writer(text).writerows([*([repr(float(v)) for v in row] for row in values)])
    dataset = table(text.getvalue(), target=None, scale="none")
    assert every(dataset) == sorted(values.astype(np.float32).tolist())


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
        ("a,y\n1,0.5\n3,inf\n", {"target_type": "numbers"}, "the targets of its train part hold inf at row 1"),
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
    assert sheet._delimiter([line, line, line]) == mark


# -- npz --------------------------------------------------------------------------------------------------------------


def arrays(**options) -> Npz:
    dataset = Npz(path="data.npz", **options)
    dataset.load()
    return dataset


X = np.random.default_rng(0).normal(size=(40, 3)) * [1, 10, 100] + 5
Y = np.arange(40) % 4


def test_vectors_and_classes() -> None:
    np.savez("data.npz", x=X, y=Y)
    dataset = arrays()
    assert (dataset.kind, dataset.shape, dataset.classes, dataset.outputs) == ("vector", (3,), 4, 4)
    assert every(dataset) == sorted(X.astype(np.float32).tolist())
    train = dataset.transform(dataset.splits["train"].x, True)
    assert train.mean(0).abs().max() < 1e-5
    assert torch.allclose(train.std(0, correction=0), torch.ones(3), atol=1e-4)


def test_parts_of_their_own_under_other_names() -> None:
    np.savez("data.npz", X_train=X, t_train=np.array(list("abcd"))[Y], X_test=X[:8], t_test=np.array(list("dcbadcba")))
    dataset = arrays(x="X", y="t", scale="none")
    assert dataset.names == list("abcd")
    assert dataset.splits["test"].y.tolist() == [3, 2, 1, 0, 3, 2, 1, 0]
    assert torch.equal(dataset.splits["test"].x, torch.from_numpy(X[:8]).float())
    assert len(dataset.splits["train"]) == 36


@pytest.mark.parametrize(
    ("shape", "found"),
    [((40, 8, 9), (1, 8, 9)), ((40, 3, 8, 9), (3, 8, 9)), ((40, 8, 9, 3), (3, 8, 9)), ((40, 1, 8, 9), (1, 8, 9))],
)
def test_pictures(shape: tuple, found: tuple) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez("data.npz", x=pixels, y=Y)
    dataset = arrays(augment={"flip": 0.5})
    assert (dataset.kind, dataset.shape) == ("image", found)
    assert dataset.random(True)
    assert not dataset.random(False)
    got = dataset.transform(dataset.splits["test"].x, False)
    assert got.shape[1:] == found
    assert abs(float(got.mean()) - 0.5) < 0.05
    standard = arrays(scale="standard")
    train = standard.transform(standard.splits["train"].x, False)
    assert train.mean((0, 2, 3)).abs().max() < 1e-4
    np.savez("data.npz", x=pixels / 255, y=Y)
    assert torch.allclose(arrays().transform(arrays().splits["test"].x, False), got, atol=1e-6)


def test_sequences_symbols_numbers_and_no_targets() -> None:
    np.savez("data.npz", x=np.zeros((40, 5, 2)), y=X)
    dataset = arrays(layout="sequence", scale_target="none")
    assert (dataset.kind, dataset.shape, dataset.classes, dataset.outputs) == ("sequence", (5, 2), None, 3)
    np.savez("data.npz", x=np.arange(120).reshape(40, 3) % 7)
    dataset = arrays(layout="symbols")
    assert (dataset.kind, dataset.classes, dataset.splits["train"].x.dtype) == ("symbols", 7, torch.int64)
    np.save("data.npy", X[:, 0])
    dataset = Npz(path="data.npy")
    dataset.load()
    assert (dataset.shape, dataset.splits["train"].y) == ((1,), None)
    np.savez("data.npz", x=X, y=np.eye(4)[Y])
    assert arrays(target_type="classes").classes == 4
    np.savez("data.npz", x=X.astype(">f8"), y=Y.astype(np.uint16))
    assert every(arrays()) == sorted(X.astype(np.float32).tolist())


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            {"x": np.where(X[6, 1] == X, np.nan, X)},
            {},
            r"data\.npz: the inputs of its train part hold nan at row 6, column 1",
        ),
        ({"x": X, "y": np.where(Y == 2, np.inf, 0.5)}, {}, "the targets of its train part hold inf at row 2"),
        ({"x": X, "y": Y[:-1]}, {}, r"data\.npz: x has 40 examples and data\.npz: y 39; needed: the same number"),
        ({"images": X}, {}, r"holds the arrays images; needed: x or x_train; type dataset\.x=NAME"),
        ({"x": np.array(["a", "b"])}, {}, "holds values of type <U1; needed: numbers"),
        ({"x": X.astype(object)}, {}, r"data\.npz cannot be read .*needed: arrays of numbers"),
        ({"x": np.float64(3)}, {}, "is a single number"),
        ({"x": X, "y": np.zeros(40)}, {}, "has one class only"),
        (
            {"x": X, "y": Y},
            {"scale": "unit"},
            r"dataset\.scale=unit was given; data\.npz holds vector data: none, standard",
        ),
        ({"x": X}, {"layout": "image"}, r"has shape \[40, 3\]; needed: \(examples, channels, height, width\)"),
        ({"x": X}, {"layout": "symbols"}, r"needed: \(examples, time\) integers"),
        ({"x": X[:0]}, {}, "holds no examples"),
    ],
)
def test_bad_arrays_are_named(content: dict, options: dict, message: str) -> None:
    np.savez("data.npz", **content)
    with pytest.raises(UsageError, match=message):
        arrays(**options)


def test_no_pickle_is_ever_loaded() -> None:
    class Loud:
        def __reduce__(self):
            return (Path("ran").touch, ())

    np.save("data.npy", np.array([Loud()], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="cannot be read"):
        Npz(path="data.npy").load()
    assert not Path("ran").exists()


def test_a_file_that_is_no_array() -> None:
    for content in (b"", b"PK\x03\x04", b"hello"):
        write(content, "data.npz")
        with pytest.raises(UsageError, match=r"data\.npz cannot be read"):
            arrays()


# -- image_folder -----------------------------------------------------------------------------------------------------


def picture(name: str, value: int = 0, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(value)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8), mode=None).save(name)


def pictures(root: str = "pets", parts: tuple[str, ...] = ("",), each: int = 10, **options) -> None:
    for part in parts:
        for kind in ("cat", "dog"):
            for i in range(each):
                picture(f"{root}/{part}/{kind}/{i}.png", hash_of(part, kind, i), **options)


def hash_of(part: str, kind: str, i: int) -> int:
    return {"": 0, "train": 0, "val": 1000, "test": 2000}[part] + (kind == "dog") * 100 + i


def folder(path: str = "pets", **options) -> ImageFolder:
    dataset = ImageFolder(path=path, **options)
    dataset.load()
    return dataset


def pixels(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_folder_for_each_class(stream: bool) -> None:
    pictures()
    write("not a picture", "pets/readme.txt")
    write("x", "pets/cat/.hidden.png")
    dataset = folder(stream=stream)
    assert (dataset.shape, dataset.classes, dataset.outputs, dataset.names) == ((3, 4, 6), 2, 2, ["cat", "dog"])
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 14, "val": 2, "test": 4}
    seen = set()
    loader = Loader(dataset, batch=4, workers=0)
    for name in ("train", "val", "test"):
        for batch in loader.split(name):
            for x, y in zip(batch.x, batch.y.tolist(), strict=True):
                (found,) = [i for i in range(10) if torch.equal(pixels(f"pets/{dataset.names[y]}/{i}.png") / 255, x)]
                seen.add((y, found))
    assert len(seen) == 20
    assert isinstance(dataset.splits["train"], Stream) == stream


def test_a_zip_of_a_folder_with_parts_is_the_folder() -> None:
    pictures("pets", ("train", "test"))
    with zipfile.ZipFile("pets.zip", "w") as archive:
        for file in sorted(Path("pets").rglob("*.png")):
            archive.write(file, f"some/pets/{file.relative_to('pets')}")
        archive.writestr("__MACOSX/some/pets/train/cat/._0.png", b"rubbish")
    plain, zipped, streamed = folder(), folder("pets.zip"), folder("pets.zip", stream=True)
    assert {name: len(part) for name, part in plain.splits.items()} == {"train": 18, "val": 2, "test": 20}
    for name in plain.splits:
        assert torch.equal(plain.splits[name].x, zipped.splits[name].x)
        assert torch.equal(plain.splits[name].y, zipped.splits[name].y)
    batches = [
        list(Loader(d, batch=5, seed=1, workers=w).train(0)) for d, w in ((plain, 0), (zipped, 0), (streamed, 1))
    ]
    assert same(batches[0], batches[1])
    assert same(batches[0], batches[2])


def test_validation_has_several_names() -> None:
    pictures("pets", ("train", "val"))
    Path("pets/val").rename("pets/valid")
    assert len(folder().splits["val"]) == 20


def test_size_and_channels() -> None:
    pictures(size=(12, 6))
    picture("pets/cat/grey.png", mode="L", size=(30, 30))
    dataset = folder(size=6)
    assert dataset.shape == (3, 6, 6)
    assert folder(size=[4, 8], channels=1).shape == (1, 4, 8)
    (grey,) = [x for part in dataset.splits.values() for x in part.x if torch.equal(x[0], x[1])]
    assert torch.equal(grey[0], grey[2])
    with pytest.raises(UsageError, match=r"grey\.png has 30×30 pixels and others 12×6; .* type dataset\.size=6"):
        folder()


def test_the_middle_of_a_wide_picture_is_taken() -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    for kind in "ab":
        for i in range(3):
            Path(f"pets/{kind}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(wide).save(f"pets/{kind}/{i}.png")
    assert (folder(size=4).splits["train"].x == 200).all()


def test_pictures_without_classes() -> None:
    for i in range(10):
        picture(f"flat/{i}.png", i)
    dataset = folder("flat")
    assert (dataset.classes, dataset.names, dataset.splits["train"].y, dataset.outputs) == (None, None, None, 72)
    batches = [list(Loader(d, batch=3, workers=0).train(0)) for d in (dataset, folder("flat", stream=True))]
    assert same(*batches)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nrubbish", None])
def test_a_corrupt_picture_is_named_or_skipped(content: bytes | None) -> None:
    pictures()
    if content is None:  # cut in half
        content = Path("pets/cat/3.png").read_bytes()
        content = content[: len(content) // 2]
    write(content, "pets/cat/3.png")
    with pytest.raises(UsageError, match=r"pets/cat/3\.png cannot be decoded .*dataset\.corrupt=skip"):
        folder()
    with pytest.raises(UsageError, match=r"pets/cat/3\.png cannot be decoded"):
        list(Loader(folder(stream=True, test=0, val=0), batch=4, workers=1).train(0))
    for stream in (False, True):
        skipped = folder(corrupt="skip", stream=stream)
        assert sum(len(part) for part in skipped.splits.values()) == 19


def test_bad_folders_are_named() -> None:
    with pytest.raises(UsageError, match=r"dataset\.path is not set; .*type dataset\.path=FOLDER"):
        ImageFolder().load()
    Path("pets").mkdir()
    with pytest.raises(UsageError, match=r"pets holds no pictures .*a subfolder of them for each class"):
        folder()
    write("text", "file.txt")
    with pytest.raises(UsageError, match=r"needed: a folder of pictures, or a \.zip"):
        folder("file.txt")
    pictures("pets", ("train", "test"))
    picture("pets/test/bird/0.png")
    with pytest.raises(UsageError, match="is of the class 'bird', which has no training pictures"):
        folder()
    pictures("mixed")
    picture("mixed/stray.png")
    with pytest.raises(UsageError, match=r"stray\.png is in no class's folder"):
        folder("mixed")
    for i in range(3):
        write(b"rubbish", f"rotten/cat/{i}.png")
    with pytest.raises(UsageError, match="none of the 3 pictures can be decoded"):
        folder("rotten", corrupt="skip")


def test_sixteen_bits() -> None:
    Path("deep/a").mkdir(parents=True)
    values = np.arange(0, 65536, 65536 // 16, dtype=np.uint16).reshape(4, 4)
    for i in range(3):
        Image.fromarray(values).save(f"deep/a/{i}.png")
    dataset = folder("deep", val=0, test=0)
    assert dataset.splits["train"].x[0, 0].tolist() == (values >> 8).tolist()


# -- text -------------------------------------------------------------------------------------------------------------


def test_a_text_is_cut_in_its_own_order() -> None:
    text = "".join(chr(97 + i % 26) for i in range(1000))
    dataset = Text(path=write(text, "a.txt"), length=10, val=0.1, test=0.2)
    dataset.load()
    assert (dataset.shape, dataset.classes, dataset.outputs, dataset.kind) == ((10,), 26, 26, "symbols")
    pieces = [dataset.splits[name] for name in ("train", "val", "test")]
    assert [len(piece) for piece in pieces] == [70, 10, 20]
    assert "".join(dataset.decode(x) for piece in pieces for x in piece.x) == text
    assert dataset.inputs(Path(write("abcabcabcabc", "b.txt"))).tolist() == [[0, 1, 2] * 3 + [0], [1, 2] + [0] * 8]
    with pytest.raises(UsageError, match=r"'!' is not among the 26 characters of a\.txt"):
        dataset.inputs(Path(write("!", "b.txt")))


def test_letters_and_the_last_piece() -> None:
    dataset = Text(path=write("Hello,  WORLD 42 é!", "a.txt"), length=4, alphabet="letters", val=0, test=0)
    dataset.load()
    split = dataset.splits["train"]
    assert split.lengths.tolist() == [4, 4, 3]
    assert "".join(dataset.decode(x[:n]) for x, n in zip(split.x, split.lengths, strict=True)) == "hello world"
    assert dataset.classes == 27


def test_text_below_the_data_folder(tmp_path: Path, monkeypatch) -> None:
    write("to be or not to be " * 100, "store/text/a.txt")
    monkeypatch.setenv("DLX_DATA", str(tmp_path / "store"))
    dataset = Text(path="text/a.txt")
    dataset.load()
    assert dataset.names == sorted(" benort")
    with pytest.raises(UsageError, match=r"dataset\.path=text/b\.txt was looked for here and in .*store/text/b\.txt"):
        Text(path="text/b.txt").load()


def test_bad_texts_are_named() -> None:
    with pytest.raises(UsageError, match="holds no text"):
        Text(path=write("", "a.txt")).load()
    with pytest.raises(UsageError, match=r"cannot be read as utf-8 .*dataset\.encoding=latin-1"):
        Text(path=write(b"caf\xe9", "a.txt")).load()
    with pytest.raises(UsageError, match=r"dataset\.path is not set"):
        Text().load()
