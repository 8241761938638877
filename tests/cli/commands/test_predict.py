"""Predictions and samples: every kind of input and output, the scaling, and what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_diabetes

from dlx.errors import UsageError
from tests.verbs import dlx, trained, truth


def _read(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("form", ["npy", "flat", "float", "npz", "csv", "header", "txt"])
def test_predict_reads(digits, images, form):
    path = Path({"npz": "x.npz", "csv": "x.csv", "header": "x.csv", "txt": "x.txt"}.get(form, "x.npy"))
    rows = images.reshape(len(images), -1)
    match form:
        case "npy":
            np.save(path, images.astype(np.uint8))
        case "flat":
            np.save(path, rows)
        case "float":
            np.save(path, (images / 16).astype(np.float32)[:, None])
        case "npz":
            np.savez(path, x=images, y=np.arange(len(images)))
        case "csv":
            np.savetxt(path, rows, delimiter=",")
        case "header":
            names = ",".join([*(f"pixel{i}" for i in range(64)), "target"])
            np.savetxt(path, np.c_[rows, np.arange(len(rows))], delimiter=",", header=names, comments="")
        case "txt":
            np.savetxt(path, rows)
    found = _read(dlx("predict", digits.directory, path))
    logits = truth(digits, images)
    assert [int(row["label"]) for row in found] == logits.argmax(1).tolist()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = [[float(row[f"probability_{k}"]) for k in range(10)] for row in found]
    assert np.allclose(given, shares, atol=1e-5)


def test_predict_pictures(digits, images):
    Path("pictures/more").mkdir(parents=True)
    for i in range(3):
        Image.fromarray((images[i] * 255 / 16).round().astype(np.uint8)).save(f"pictures/{i}.png")
    large = (
        Image.fromarray((images[3] * 255 / 16).astype(np.uint8))
        .resize((32, 32), Image.Resampling.NEAREST)
        .convert("RGB")
    )
    large.save("pictures/more/3.png")
    found = _read(dlx("predict", digits.directory, "pictures"))
    assert [row["file"] for row in found] == ["0.png", "1.png", "2.png", "more/3.png"]
    assert [int(row["label"]) for row in found] == truth(digits, images[:4]).argmax(1).tolist()
    alone = _read(dlx("predict", digits.directory, "pictures/1.png"))
    assert alone[0]["label"] == found[1]["label"]


def test_predict_writes(digits, images):
    np.save("x.npy", images)
    printed = dlx("predict", digits.directory, "x.npy")
    dlx("predict", digits.directory, "x.npy", "-o", "new/y.csv")
    assert Path("new/y.csv").read_text() == printed
    dlx("predict", digits.directory, "x.npy", "-o", "y.npz")
    with np.load("y.npz") as found:
        assert found["label"].tolist() == truth(digits, images).argmax(1).tolist()
        assert found["probability"].shape == (20, 10)
    for name in ("y.png", "y.xyz", "folder"):
        with pytest.raises(UsageError, match="-o"):
            dlx("predict", digits.directory, "x.npy", "-o", name)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: np.save("x.npy", np.zeros((3, 7))), r"shape \[3, 7\].*needed: \(examples, 1, 8, 8\)"),
        (lambda: np.save("x.npy", np.zeros((0, 8, 8))), "no examples"),
        (lambda: np.save("x.npy", np.full((2, 8, 8), np.nan)), "nan"),
        (lambda: np.save("x.npy", np.full((2, 8, 8), 17)), "from 0 to 16"),
        (lambda: np.save("x.npy", np.full((2, 8, 8), -0.5)), "from 0 to 16"),
        (lambda: np.save("x.npy", np.array([{"a": 1}]), allow_pickle=True), "cannot be read"),
        (lambda: Path("x.npy").write_bytes(b"no array"), "cannot be read"),
        (lambda: None, "no such file"),
    ],
)
def test_bad_arrays(digits, write, message):
    write()
    with pytest.raises(UsageError, match=message):
        dlx("predict", digits.directory, "x.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "1,2,3\n", "has 3 columns; needed: 64"),
        (
            "x.csv",
            ",".join(["a"] * 63 + ["1"]) + "\n" + ",".join(["b"] * 64),
            "column '0': 'a' was given; needed: a number",
        ),
        ("x.csv", "", "empty"),
        ("x.txt", "1 2\n3\n", "has 1 columns"),
        ("x.png", "no picture", "cannot be read"),
        ("x.pkl", "?", "needed: .npy"),
    ],
)
def test_bad_files(digits, name, content, message):
    Path(name).write_text(content)
    with pytest.raises(UsageError, match=message):
        dlx("predict", digits.directory, name)


def test_scaling_is_that_of_the_training_run(tmp_path):
    """Diabetes: features and target standardised by the training split, found again from outside."""
    run = trained(tmp_path / "run", "dataset=diabetes", "model.hidden=[]", "trainer.epochs=3")
    x = load_diabetes().data[:7]
    np.savetxt("x.csv", x, delimiter=",")
    found = np.array([float(row["prediction"]) for row in _read(dlx("predict", run.directory, "x.csv"))])
    one = np.array([float(row["prediction"]) for row in _read(_one(run, x[3]))])
    assert one == pytest.approx(found[3], rel=1e-5), "another input has no say in the scaling"

    from dlx.parts import load_trained
    from dlx.runs.saved import load_config

    parts, _ = load_trained(run, load_config(run))
    train = parts.dataset.splits["train"]
    weights = torch.load(run.checkpoints / "best.pt", weights_only=True)["model"]
    w, b = (v.numpy() for v in weights.values())
    seen = (x - train.x.double().mean(0).numpy()) / train.x.double().std(0, correction=0).numpy()
    mean, std = parts.dataset.target_mean.numpy(), parts.dataset.target_std.numpy()
    assert found == pytest.approx(((seen @ w.T + b) * std + mean)[:, 0], rel=1e-4)
    assert 25 < found.mean() < 346, "in the units of the data"


def _one(run, row):
    np.savetxt("one.csv", row[None], delimiter=",")
    return dlx("predict", run.directory, "one.csv")


def test_predict_from_the_users_own_table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal([5, -3, 100], [1, 2, 30], (60, 3))
    kind = np.where(x[:, 0] > 5, "warm", "cold")
    lines = ["a,b,c,kind", *(f"{a},{b},{c},{k}" for (a, b, c), k in zip(x.tolist(), kind, strict=True))]
    Path("table.csv").write_text("\n".join(lines) + "\n")
    run = trained(tmp_path / "run", "dataset=csv", "dataset.path=table.csv", "dataset.target=kind", "trainer.epochs=60")
    Path("new.csv").write_text("c,kind,a,b\n100,?,9,-3\n100,?,1,-3\n")  # other order, target there and unknown
    assert [row["label"] for row in _read(dlx("predict", run.directory, "new.csv"))] == ["warm", "cold"]
    Path("bare.csv").write_text("9,-3,100\n1,-3,100\n")  # no header, no target
    assert [row["label"] for row in _read(dlx("predict", run.directory, "bare.csv"))] == ["warm", "cold"]


# -- sample --------------------------------------------------------------------------------------------------------


def test_sample(tmp_path):
    run = trained(tmp_path / "gan", "model=gan", "trainer.max_steps=3")
    dlx("sample", run.directory, "-n", 9, "-o", "a.png")
    with Image.open("a.png") as picture:
        assert picture.mode == "L"
        assert picture.width == picture.height > 3 * 8
    for name, seed in (("a.npz", 1), ("b.npz", 1), ("c.npz", 2)):
        dlx("sample", run.directory, "-n", 5, "--seed", seed, "-o", name)
    a, b, c = (np.load(name)["x"] for name in ("a.npz", "b.npz", "c.npz"))
    assert a.shape == (5, 1, 8, 8)
    assert (a == b).all()
    assert (a != c).any()
    assert 0 <= a.min() < a.max() <= 16, "in the units of the data"
    dlx("sample", run.directory, "-n", 2, "-o", "folder")
    assert sorted(p.name for p in Path("folder").iterdir()) == ["0.png", "1.png"]


def test_what_does_not_generate_says_so(digits):
    with pytest.raises(UsageError, match=r"MLP.*generates"):
        dlx("sample", digits.directory)
