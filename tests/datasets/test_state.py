"""What a dataset fits is its state: with it, no training data is needed, and other data is read by it."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Generated, Split, Stream
from dlx.datasets.synthetic.points import Blobs
from dlx.errors import UsageError
from dlx.instantiate import build
from tests.conftest import ROOT

NAMES = sorted(path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml"))


def write_csv(path):
    rows = [
        f"{i % 7 + i * 0.37:.4f},{'red' if i % 3 else 'blue'},{i % 5},{'dog' if i % 2 else 'cat'}" for i in range(60)
    ]
    path.write_text("width,colour,legs,kind\n" + "\n".join(rows) + "\n")


def write_series(path, n=30, low=4):
    r = np.random.default_rng(0)
    lines = ["@problemName t", "@univariate true", "@classLabel true a b", "@data"]
    for i in range(n):
        values = 1000 + 50 * r.standard_normal(low + i % 5)
        lines.append(",".join(f"{v:.3f}" for v in values) + f":{'ab'[i % 2]}")
    path.write_text("\n".join(lines) + "\n")


def write_pictures(path, n=8):
    for k, name in enumerate(("cat", "dog")):
        (path / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = np.random.default_rng(100 * k + i).integers(0, 256, (6, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")


def write_conll(path, n=30):
    words, tags = ["the", "cat", "sat", "here"], ["D", "N", "V", "R"]
    sentences = ["\n".join(f"{words[j]}\t{tags[j]}" for j in range(2 + i % 3)) for i in range(n)]
    path.write_text("\n\n".join(sentences) + "\n")


def write_rolls(path):
    from scipy.io import savemat

    r = np.random.default_rng(0)

    def cells(n):
        out = np.empty((1, n), dtype=object)
        for i in range(n):
            out[0, i] = (r.random((5 + i % 3, 88)) < 0.1).astype(float)
        return out

    savemat(path, {"traindata": cells(6), "validdata": cells(2), "testdata": cells(2)})


def write_npz(path, dtype=np.float64):
    r = np.random.default_rng(0)
    np.savez(path, x=(1000 + r.standard_normal((40, 3))).astype(dtype), y=np.array(["ant", "bee"] * 20))


FILES = {
    "csv": (write_csv, "a.csv", {"one_hot": True}),
    "npz": (write_npz, "a.npz", {}),
    "timeseries": (write_series, "a.ts", {}),
    "image_folder": (write_pictures, "pictures", {"scale": "standard"}),
    "conll": (write_conll, "a.conll", {}),
    "piano_roll": (write_rolls, "a.mat", {}),
    "text": (lambda path: path.write_text("To be, or not to be: that is the question. " * 40), "a.txt", {"length": 8}),
}


def make(name, path=None, **options):
    """An unread dataset of conf/dataset, with settings that make it fit something."""
    config = OmegaConf.load(ROOT / "conf" / "dataset" / f"{name}.yaml")
    for base in [base for base in config.pop("defaults", []) if isinstance(base, str)]:
        config = OmegaConf.merge(OmegaConf.load(ROOT / "conf" / "dataset" / f"{base}.yaml"), config)
    config.seed = 0
    if "download" in config.dataset:
        config.dataset.download = False
    if name in FILES:
        write, file, more = FILES[name]
        if path is None and not Path(file).exists():
            write(Path(file))
        config.dataset.update({"path": path or file, **({} if options else more), **options})
    return build(config, "dataset")


def load(name):
    dataset = make(name)
    try:
        dataset.load()
    except UsageError as error:
        if "looked for" not in str(error):
            raise
        pytest.skip(f"no data for {name} on this machine")
    return dataset


def restore(dataset, name, path=None):
    """A fresh dataset with the state of another, as a checkpoint gives it back."""
    restored = make(name, path)
    restored.load_state_dict(saved(dataset.state_dict()))
    return restored


def saved(state):
    """The state as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def first(dataset, n=5):
    train = dataset.splits["train"]
    if isinstance(train, Stream):
        return torch.stack([train.data[i][0] for i in range(n)])
    if isinstance(train, Generated):
        train = train.make(n, torch.Generator().manual_seed(0))
    assert isinstance(train, Split)
    return train.x[:n]


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_dataset_reads_nothing(name, monkeypatch):
    dataset = load(name)
    assert dataset.undeclared == []  # what `load` finds is named in `fitted`
    state = saved(dataset.state_dict())
    restored = make(name)
    restored.load_state_dict(state)
    monkeypatch.setattr(type(restored), "read", lambda self: pytest.fail("the data was read"))
    assert not restored.is_read
    x = first(dataset)
    assert torch.equal(restored.transform(x, False, None), dataset.transform(x, False, None))
    for attribute in ("kind", "shape", "classes", "outputs", "symbols", "names", "vocabulary", "columns", "dtype"):
        assert getattr(restored, attribute, None) == getattr(dataset, attribute, None), attribute
    assert same(saved(restored.state_dict()), state)
    assert restored.count_examples("train") == len(dataset.splits["train"])


@pytest.mark.parametrize("name", NAMES)
def test_the_inverse_leads_back(name):
    dataset = load(name)
    x = first(dataset)
    if not dataset.dtype.is_floating_point and dataset.kind == "symbols":
        return
    scaled = dataset.transform(x, False, None)
    torch.testing.assert_close(dataset.inverse_transform(scaled).double(), x.double(), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("name", ["iris", "digits", *FILES])
def test_other_data_is_read_by_the_state(name):
    """The splits of a restored dataset are those of the one that fitted, to the bit."""
    dataset = load(name)
    restored = restore(dataset, name)
    assert restored.splits.keys() == dataset.splits.keys()  # which reads
    for split, part in dataset.splits.items():
        again = restored.splits[split]
        for field in ("x", "y", "lengths"):
            assert same(getattr(again, field, None), getattr(part, field, None)), (split, field)
    assert same(restored.state_dict(), dataset.state_dict())


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("image_folder",)])
def test_inputs_without_the_training_file(name):
    dataset = load(name)
    path = Path(FILES[name][1])
    new = path.rename(path.with_stem("new"))
    restored = restore(dataset, name, "gone")
    if type(dataset).inputs is Dataset.inputs:
        return
    given, expected = restored.inputs(new), dataset.inputs(new)
    assert torch.equal(given.x, expected.x)
    assert same(given.lengths, expected.lengths)


def test_columns_are_found_by_name():
    dataset = load("csv")
    lines = [line.split(",") for line in Path("a.csv").read_text().splitlines()]
    moved = [[row[3], row[2], "7" if i else "new", row[0], row[1]] for i, row in enumerate(lines)]
    Path("a.csv").write_text("\n".join(map(",".join, moved)) + "\n")
    restored = restore(dataset, "csv")
    assert torch.equal(restored.splits["test"].x, dataset.splits["test"].x)
    assert torch.equal(restored.splits["test"].y, dataset.splits["test"].y)
    Path("a.csv").write_text("\n".join(",".join([row[1], *row[2:]]) for row in lines) + "\n")
    again = restore(dataset, "csv")
    with pytest.raises(UsageError, match="width"):
        again.load()
    assert not again.is_read


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("csv", lambda p: p.write_text(p.read_text().replace("dog", "ant")), "'ant'.*cat, dog"),
        ("npz", lambda p: np.savez(p, x=np.ones((6, 3)), y=np.array(["ant", "wasp"] * 3)), "'wasp'.*ant, bee"),
        ("npz", lambda p: np.savez(p, x=np.ones((6, 4)), y=np.array(["ant"] * 6)), r"shape is \[4\]; needed: \[3\]"),
        ("conll", lambda p: p.write_text(p.read_text().replace("\tV", "\tX")), "tag 'X'.*D, N, R, V"),
        ("text", lambda p: p.write_text("Ω" + p.read_text()), "'Ω' is not among"),
        ("image_folder", lambda p: (p / "dog").rename(p / "wolf"), "'wolf'.*cat, dog"),
        ("timeseries", lambda p: p.write_text(p.read_text().replace("e a b", "e a c").replace(":b", ":c")), "'c'"),
    ],
)  # fmt: skip
def test_what_training_did_not_see_is_one_error(name, change, message):
    dataset = load(name)
    change(Path(FILES[name][1]))
    restored = restore(dataset, name)
    with pytest.raises(UsageError, match=message) as told:
        restored.load()
    assert "\n" not in str(told.value)


class Forgetful(Blobs):
    """A user's own dataset that does not name what it fits."""

    def prepare(self, train):
        self.middle = train.x.mean(0)


def test_what_a_class_does_not_name_is_noticed():
    dataset = Forgetful(examples=20)
    dataset.load()
    assert dataset.undeclared == ["middle"]


def test_the_fitted_scale_stays_when_the_data_changes():
    dataset = load("csv")
    lines = Path("a.csv").read_text().splitlines()
    Path("a.csv").write_text("\n".join([*lines, *["900,red,1,dog"] * 60]) + "\n")
    restored = restore(dataset, "csv")
    restored.load()
    assert len(restored.splits["train"]) > len(dataset.splits["train"])
    assert torch.equal(restored.shift, dataset.shift)
    x = first(dataset)
    assert torch.equal(restored.transform(x, False), dataset.transform(x, False))
