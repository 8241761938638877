"""The user's own arrays, pictures and texts: what is good is read as it is, what is bad is named."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlx.datasets.images.image_folder import ImageFolder
from dlx.datasets.loader import Loader
from dlx.datasets.npz import Npz
from dlx.datasets.sequences.text import Text
from dlx.datasets.splits import Stream
from dlx.errors import UsageError
from dlx.trained.inputs import as_examples
from tests.conftest import same


def write(content: str | bytes, name: str = "data.csv") -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def every(dataset, which: str = "x") -> list:
    return sorted(row for part in dataset.splits.values() for row in getattr(part, which).tolist())


# -- npz --------------------------------------------------------------------------------------------------------------


def arrays(**options) -> Npz:
    dataset = Npz(**{"path": "data.npz", **options})
    dataset.load()
    return dataset


X = np.random.default_rng(0).normal(size=(40, 3)) * [1, 10, 100] + 5
Y = np.arange(40) % 4


def test_vectors_and_classes() -> None:
    np.savez("data.npz", x=X, y=Y)
    dataset = arrays()
    assert (dataset.kind, dataset.shape, dataset.classes, dataset.outputs) == ("vector", (3,), 4, 4)
    assert every(dataset) == sorted(X.tolist())
    train = dataset.transform(dataset.splits["train"].x, True)
    assert train.mean(0).abs().max() < 1e-5
    assert torch.allclose(train.std(0, correction=0), torch.ones(3), atol=1e-4)


def test_parts_of_their_own_under_other_names() -> None:
    np.savez("data.npz", X_train=X, t_train=np.array(list("abcd"))[Y], X_test=X[:8], t_test=np.array(list("dcbadcba")))
    dataset = arrays(x="X", y="t", scale="none")
    assert dataset.names == list("abcd")
    assert dataset.splits["test"].y.tolist() == [3, 2, 1, 0, 3, 2, 1, 0]
    assert torch.equal(dataset.splits["test"].x, torch.from_numpy(X[:8]))
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


@pytest.mark.parametrize(
    ("sizes", "options", "found", "noted"),
    [
        ((13, 12, 12), {}, (13, 12, 12), "the first axis is taken for the 13 channels"),
        ((12, 12, 13), {}, (13, 12, 12), "the last axis is taken for the 13 channels"),
        ((12, 12, 3), {}, (3, 12, 12), "the last axis is taken for the 3 channels"),
        ((9, 8, 1), {}, (1, 9, 8), "the last axis is taken for the 1 channels"),
        ((3, 12, 12), {}, (3, 12, 12), None),
        ((3, 9, 8), {}, (3, 9, 8), None),
        ((5, 6, 7), {"channels": "first"}, (5, 6, 7), None),
        ((5, 6, 7), {"channels": "last"}, (7, 5, 6), None),
        ((4, 4, 4), {"channels": "last"}, (4, 4, 4), None),
        ((12, 12, 13), {"shape": [13, 12, 12]}, (13, 12, 12), "the last axis"),
        ((12, 12, 13), {"shape": [12, 12, 13]}, (12, 12, 13), "the first axis"),  # as an older run took it
        ((5, 6, 7), {}, None, None),
        ((4, 4, 4), {}, None, None),
        ((4, 4, 13), {}, None, None),
        ((3, 8, 3), {}, None, None),
    ],
)
def test_which_axis_the_channels_are(sizes, options, found, noted) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, *sizes), dtype=np.uint8)
    np.savez("data.npz", x=x, y=Y)
    if found is None:
        with pytest.raises(UsageError, match=r"cannot be told; type dataset\.channels=first or dataset\.channels=last"):
            arrays(**options)
        return
    dataset = arrays(**options, val=0, test=0)
    assert dataset.shape == found
    wanted = x if dataset.channels == "first" else x.transpose(0, 3, 1, 2)
    assert sorted(dataset.splits["train"].x.tolist()) == sorted(wanted.tolist())
    assert [noted in note for note in dataset.notes if ": x" in note] == ([] if noted is None else [True])
    assert torch.equal(as_examples(x[:3], dataset), torch.from_numpy(wanted[:3].copy())), "rows to predict for, too"


WHOLE = np.random.default_rng(0).integers(0, 256, (40, 8, 9))


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint16", "uint32", "uint64", "float32", "float64"])
def test_whole_numbers_of_any_type_are_bytes(dtype: str) -> None:
    np.savez("bytes.npz", x=WHOLE.astype(np.uint8), y=Y)
    np.savez("data.npz", x=WHOLE.astype(dtype), y=Y)
    wanted, dataset = arrays(path="bytes.npz"), arrays()
    for name, split in wanted.splits.items():
        assert torch.equal(dataset.splits[name].x, split.x)
        assert torch.equal(dataset.transform(split.x, False), wanted.transform(split.x, False))
    assert any(f"whole numbers from 0 to 255 of type {dtype} are read as bytes" in note for note in dataset.notes)
    assert not any("whole" in note for note in wanted.notes if ": x" in note)
    old = arrays(white="bytes", val=0, test=0)  # what runs of earlier versions say
    assert float(old.transform(old.splits["train"].x, False).max()) == 255
    np.savez("data.npz", x_train=WHOLE.astype(dtype), y_train=Y, x_test=WHOLE.astype(dtype) * 2, y_test=Y)
    with pytest.raises(UsageError, match=r"x_test has values from 0 to 510; needed: whole numbers from 0 to 255"):
        arrays()


def test_what_is_white() -> None:
    np.savez("data.npz", x=WHOLE.astype(np.int32) * 16, y=Y)
    with pytest.raises(UsageError, match=r"up to 4080 of type int32.*type dataset\.white=4095"):
        arrays()
    for white in (4095, 1):  # the advice
        dataset = arrays(white=white, val=0, test=0)
        found = dataset.transform(dataset.splits["train"].x, False)
        assert sorted(found.flatten(1).tolist()) == sorted((torch.from_numpy(WHOLE).flatten(1) * 16.0 / white).tolist())
    assert arrays(scale="standard").shape == (1, 8, 9)
    for values, text in (
        (WHOLE / 2, "values from 0 to 127.5 are left as they are; type"),
        (WHOLE - 9, "values from -9 to 246 are"),
    ):
        np.savez("data.npz", x=values, y=Y)
        assert any(text in note for note in arrays().notes)
    np.savez("data.npz", x=WHOLE / 255, y=Y)
    assert arrays().notes[:1] == ["data.npz: x: 8×9 taken for grey pictures; type dataset.layout=sequence if not"]
    assert [": y: " in note for note in arrays().notes] == [False, False, True]
    np.savez("data.npz", x=X, y=Y)
    with pytest.raises(UsageError, match=r"dataset\.white=255 was given; data\.npz holds vector data"):
        arrays(white=255)


def test_sequences_symbols_numbers_and_no_targets() -> None:
    np.savez("data.npz", x=np.zeros((40, 5, 2)), y=X)
    dataset = arrays(layout="sequence", scale_target="none")
    assert (dataset.kind, dataset.shape, dataset.classes, dataset.outputs) == ("sequence", (5, 2), None, 3)
    np.savez("data.npz", x=np.arange(120).reshape(40, 3) % 7)
    dataset = arrays(layout="symbols")
    assert (dataset.kind, dataset.classes, dataset.splits["train"].x.dtype) == ("symbols", 7, torch.int64)
    assert dataset.symbols == 7
    np.savez("data.npz", x=np.arange(120).reshape(40, 3) % 7, y=np.array(["a", "b"] * 20))
    dataset = arrays(layout="symbols")
    assert (dataset.symbols, dataset.classes, dataset.outputs, dataset.names) == (7, 2, 2, ["a", "b"])
    np.savez("data.npz", x=np.arange(120).reshape(40, 3) % 7, lengths=np.arange(40) % 3 + 1)
    split = arrays(layout="symbols", val=0, test=0).splits["train"]
    assert sorted(split.lengths.tolist()) == sorted((np.arange(40) % 3 + 1).tolist())
    np.savez("data.npz", x=np.zeros((40, 3, 2)), lengths=np.arange(40))
    with pytest.raises(UsageError, match="needed: 40 whole numbers from 1 to 3"):
        arrays(layout="sequence")
    np.save("data.npy", X[:, 0])
    dataset = Npz(path="data.npy")
    dataset.load()
    assert (dataset.shape, dataset.splits["train"].y) == ((1,), None)
    np.savez("data.npz", x=X, y=np.eye(4)[Y])
    assert arrays(target_type="classes").classes == 4
    np.savez("data.npz", x=X.astype(">f8"), y=Y.astype(np.uint16))
    assert every(arrays()) == sorted(X.tolist())


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
    assert dataset.splits["train"].x[0, 0].tolist() == (values / 257).round().astype(int).tolist()
    assert dataset.notes == ["deep: 3 of 3 pictures have more than 8 bits, which were rounded to 8"]


# -- text -------------------------------------------------------------------------------------------------------------


def test_a_text_is_cut_in_its_own_order() -> None:
    text = "".join(chr(97 + i % 26) for i in range(1000))
    dataset = Text(path=write(text, "a.txt"), length=10, val=0.1, test=0.2)
    dataset.load()
    assert (dataset.shape, dataset.classes, dataset.outputs, dataset.kind) == ((10,), 26, 26, "symbols")
    pieces = [dataset.splits[name] for name in ("train", "val", "test")]
    assert [len(piece) for piece in pieces] == [70, 10, 20]
    assert "".join(dataset.decode(x) for piece in pieces for x in piece.x) == text
    assert dataset.inputs(Path(write("abcabcabcabc", "b.txt"))).x.tolist() == [[0, 1, 2] * 3 + [0], [1, 2] + [0] * 8]
    longer = Text(path="a.txt", length=10, evaluation_length=64, val=0.1, test=0.2)
    longer.load()
    for name, sizes in {"train": [10] * 70, "val": [64, 36], "test": [64] * 3 + [8]}.items():
        one, two = longer.splits[name], dataset.splits[name]
        assert one.lengths.tolist() == sizes
        assert "".join(map(longer.decode, one.x))[: sum(sizes)] == "".join(map(dataset.decode, two.x))
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
    with pytest.raises(UsageError, match="holds one character, 'a'; needed: a text of at least two"):
        Text(path=write("a", "a.txt")).load()
    with pytest.raises(UsageError, match=r"cannot be read as utf-8 .*dataset\.encoding=latin-1"):
        Text(path=write(b"caf\xe9", "a.txt")).load()
    with pytest.raises(UsageError, match=r"dataset\.path is not set"):
        Text().load()
    with pytest.raises(UsageError, match=r"has 5 characters, which dataset\.length=2 cuts into 3; needed: 4 pieces"):
        Text(path=write("to be", "a.txt"), length=2, val=0.5).load()
    for name in ("length", "evaluation_length"):
        with pytest.raises(UsageError, match=rf"dataset\.{name}=1 was given; needed: at least 2"):
            Text(path="a.txt", **{name: 1})
    dataset = Text(path="a.txt", length=2)
    dataset.load()
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [1, 1, 1]  # however small their shares
    with pytest.raises(UsageError, match=r"'z' is not among the 5 characters of a\.txt; needed: some of ' beot'"):
        dataset.encode("zebra")
