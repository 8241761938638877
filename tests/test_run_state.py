"""A run carries what was fitted: it predicts without the training file, and says where that has changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from dlx import api
from dlx.datasets import fingerprint as fingerprints
from dlx.datasets.fingerprint import fingerprint, list_changes
from dlx.errors import UsageError
from dlx.training import checkpoint
from tests.datasets.test_state import FILES, load
from tests.verbs import dlx, trained

MODELS = {
    "csv": ["model=mlp", "task=classification"],
    "npz": ["model=mlp", "task=classification"],
    "image_folder": ["model=mlp", "task=classification"],
    "text": ["model=lstm", "task=prediction", "model.hidden=8"],
    "conll": ["model=hmm_tagger"],
    "timeseries": ["model=gru", "task=classification", "model.hidden=8"],
    "piano_roll": ["model=lstm", "task=prediction", "model.hidden=8", "model.outputs=88"],
}


def settings(name):
    """A short training on the files of a kind."""
    _, file, more = FILES[name]
    load(name)  # writes them
    own = [f"dataset.{key}={str(value).lower()}" for key, value in more.items()]
    return [f"dataset={name}", f"dataset.path={file}", *own, *MODELS[name], "trainer.epochs=1", "trainer.device=cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_predict_with_the_training_data_gone(name, tmp_path):
    run = trained(tmp_path / "run", *settings(name))
    file = Path(FILES[name][1])
    if name == "image_folder":
        shutil.copytree(file, "new")
        new = Path("new")
    else:
        new = Path(shutil.copy(file, file.with_stem("new")))
    before = dlx("predict", run.directory, new)
    shutil.move(file, tmp_path / "elsewhere")
    assert dlx("predict", run.directory, new) == before
    with pytest.raises(UsageError, match=r"no such file|not found"):
        dlx("evaluate", run.directory)
    for kept in ("best", "last"):
        path = run.checkpoints / f"{kept}.pt"
        if path.exists():
            assert "shape" in checkpoint.load(path)["dataset"]
    assert len(json.loads(run.file.read_text())["data"]["files"][0]["sha256"]) == 64


def pets(change=None):
    """The case's file: two columns and a class."""
    r = np.random.default_rng(0)
    rows = [
        (f"{5 + 3 * (i % 2) + r.random():.4f}", f"{30 - 9 * (i % 2) + r.random():.4f}", ["cat", "dog"][i % 2])
        for i in range(60)
    ]
    rows = change(rows) if change else rows
    header = ("weight", "length", "kind")
    return "\n".join(",".join(row) for row in [header, *rows]) + "\n"


@pytest.fixture
def run(tmp_path):
    Path("pets.csv").write_text(pets())
    Path("new.csv").write_text("weight,length\n5.5,30.5\n8.5,21.5\n")
    words = ["dataset=csv", "dataset.path=pets.csv", "model=mlp", "trainer.epochs=3", "trainer.device=cpu"]
    return trained(tmp_path / "run", *words)


CHANGES = {
    "rows appended": lambda rows: [*rows, *[("900", "1", "bird")] * 30],
    "another unit": lambda rows: [(str(100 + float(a)), b, c) for a, b, c in rows],
    "class renamed": lambda rows: [(a, b, c.replace("dog", "ant")) for a, b, c in rows],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_changes_no_prediction(run, change):
    before = dlx("predict", run.directory, "new.csv")
    Path("pets.csv").write_text(pets(CHANGES[change]))
    assert dlx("predict", run.directory, "new.csv") == before
    with pytest.raises(UsageError, match=r"not what was trained on: it (had|has) .* bytes.*--accept-changed-data"):
        dlx("resume", run.directory, "trainer.epochs=4")
    assert run.read()["status"] == "finished"


def test_evaluate_measures_by_the_fitted_state_and_says_what_changed(run, capfd):
    unit = CHANGES["another unit"]
    same = json.loads(dlx("evaluate", run.directory, "--split", "train", "--json"))
    assert "not what was trained on" not in capfd.readouterr().err
    Path("pets.csv").write_text(pets(unit))
    moved = api.load(run.directory)
    assert moved.evaluate("train") != same
    assert "pets.csv is not what was trained on" in capfd.readouterr().err
    dataset = moved.parts.dataset
    raw = np.loadtxt("pets.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    old = np.array([[float(v) for v in line.split(",")[:2]] for line in pets().splitlines()[1:]])
    rows = dataset.splits["train"].x.double()
    places = [int(np.abs(raw - row.numpy()).sum(1).argmin()) for row in rows]
    scaler = StandardScaler().fit(old[places])  # of the old file, at the rows that were trained on
    expected = scaler.transform(raw[places])
    np.testing.assert_allclose(dataset.transform(dataset.splits["train"].x, False), expected, rtol=1e-4, atol=1e-4)


def test_resume_goes_on_with_changed_data_when_told(run):
    Path("pets.csv").write_text(pets(CHANGES["another unit"]))
    old = checkpoint.load(run.checkpoints / "last.pt")["dataset"]
    dlx("resume", run.directory, "trainer.epochs=4", "--accept-changed-data")
    about = run.read()
    assert about["epoch"] == 4
    assert "not what was trained on" in about["resumed"][0]["changed_data"][0]
    new = checkpoint.load(run.checkpoints / "last.pt")["dataset"]
    assert torch.equal(old["shift"], new["shift"])
    dlx("resume", run.directory, "trainer.epochs=5")  # the data is as it was a moment ago


def test_columns_may_move(run):
    before = json.loads(dlx("evaluate", run.directory, "--json"))
    lines = [line.split(",") for line in Path("pets.csv").read_text().splitlines()]
    Path("moved.csv").write_text("\n".join(f"{c},{b},{a}" for a, b, c in lines) + "\n")
    assert json.loads(dlx("evaluate", run.directory, "dataset.path=moved.csv", "--split", "test", "--json")) == before
    Path("narrow.csv").write_text("\n".join(f"{b},{c}" for a, b, c in lines) + "\n")
    with pytest.raises(UsageError, match="weight"):
        dlx("evaluate", run.directory, "dataset.path=narrow.csv")


def test_fingerprints(tmp_path, monkeypatch):
    import hashlib

    dataset = load("csv")
    found = fingerprint(dataset)
    content = Path("a.csv").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert found == {"files": [{"path": str(tmp_path / "a.csv"), "bytes": len(content), "sha256": digest}]}
    Path("a.csv").write_bytes(content[:-2] + b"X\n")
    (change,) = list_changes(found, fingerprint(dataset))
    assert change.endswith(f"a.csv is not what was trained on: it has as many bytes, {len(content):,}, and others")
    monkeypatch.setattr(fingerprints, "WHOLE_BYTES", 10)
    assert "ends" not in found["files"][0]
    assert "first and last" in fingerprint(dataset)["files"][0]["hashed"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    pictures = load("image_folder")
    old = fingerprint(pictures)
    assert old["files"][0]["files"] == 16
    Path("pictures/cat/0.png").rename("pictures/cat/z.png")
    assert list_changes(old, fingerprint(pictures))
    Path("pictures/cat/z.png").unlink()
    assert "had 16 files and has 15" in list_changes(old, fingerprint(pictures))[0]
    assert list_changes(None, old) == []
    seeded = fingerprint(load("blobs"))
    assert seeded == {"made_by": "Blobs", "seed": 0}
    assert list_changes(seeded, {**seeded, "seed": 1}) == ["the data's seed was 0 and is 1"]
