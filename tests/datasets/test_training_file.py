"""Every dataset of files × what happens to the training file after the training: new rows are read as before."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from dlx.trained.inputs import read_inputs
from tests.datasets.test_state import FILES, load, restore, same, saved
from tests.test_run_state import MODELS, settings
from tests.verbs import dlx, trained


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def change_csv(path):
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    changed = [f"{100 - 3 * float(w)},{c}ish,{legs},{kind}like" for w, c, legs, kind in rows]
    path.write_text("width,colour,legs,kind\n" + "\n".join(changed) + "\n")


def reorder_csv(path):
    header, *rows = [line.split(",")[::-1] for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(",".join, [header, *rows[::-1]])) + "\n")


def change_npz(path):
    np.savez(path, x=5 - 7 * np.load(path)["x"], y=np.array(["wasp", "zebra", "yak", "ant"] * 10))


def reorder_npz(path):
    arrays = np.load(path)
    np.savez(path, y=arrays["y"][::-1], x=arrays["x"][::-1])


def change_series(path):
    head, data = path.read_text().split("@data\n")
    lines = [line.rpartition(":") for line in data.splitlines()]
    changed = [",".join(str(9 * float(v)) for v in values.split(",")[1:]) + ":c" for values, _, _ in lines]
    path.write_text(head.replace("true a b", "true c b a") + "@data\n" + "\n".join(changed) + "\n")


def reorder_series(path):
    head, data = path.read_text().split("@data\n")
    path.write_text(head.replace("a b", "b a") + "@data\n" + "\n".join(data.splitlines()[::-1]) + "\n")


def change_pictures(path):
    for file in path.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(file))[:4, :4] // 2).save(file)
    (path / "dog").rename(path / "ant")


def reorder_pictures(path):
    (path / "cat").rename(path / "other")
    (path / "dog").rename(path / "cat")
    (path / "other").rename(path / "dog")


def change_rolls(path):
    content = loadmat(path)
    for name in ("traindata", "validdata", "testdata"):
        for i, cell in enumerate(content[name][0]):
            content[name][0, i] = 1 - cell
    savemat(path, {name: cells for name, cells in content.items() if not name.startswith("_")})


def reorder_rolls(path):
    content = loadmat(path)
    savemat(path, {name: cells[:, ::-1] for name, cells in content.items() if not name.startswith("_")})


CHANGED = {
    "csv": change_csv,
    "npz": change_npz,
    "timeseries": change_series,
    "image_folder": change_pictures,
    "conll": lambda path: path.write_text(path.read_text().replace("cat", "ant").replace("N\n", "A\n")),
    "piano_roll": change_rolls,
    "text": lambda path: path.write_text("ΑΒΓ" + path.read_text().upper()),
}
REORDERED = {
    "csv": reorder_csv,
    "npz": reorder_npz,
    "timeseries": reorder_series,
    "image_folder": reorder_pictures,
    "conll": lambda path: path.write_text("\n\n".join(path.read_text().strip().split("\n\n")[::-1]) + "\n"),
    "piano_roll": reorder_rolls,
    "text": lambda path: path.write_text(path.read_text()[::-1]),
}
EVENTS = {"gone": dict.fromkeys(FILES, remove), "changed": CHANGED, "reordered": REORDERED}


def copy(path):
    """The training file as new rows."""
    new = path.with_stem("new")
    return Path(shutil.copytree(path, new) if path.is_dir() else shutil.copy(path, new))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", FILES)
def test_new_rows_are_read_as_before(name, event):
    dataset, path = load(name), Path(FILES[name][1])
    new = copy(path)
    before = read_inputs(new, dataset)
    seen, content = dataset.transform(before.x, False), path.read_bytes() if path.is_file() else None
    EVENTS[event][name](path)
    assert content is None or event == "gone" or path.read_bytes() != content
    restored = restore(dataset, name)
    given = read_inputs(new, restored)
    assert not restored.is_read
    assert same(given.x, before.x)
    assert same(given.lengths, before.lengths)
    assert given.steps == before.steps
    assert torch.equal(restored.transform(given.x, False), seen)
    assert same(saved(restored.state_dict()), saved(dataset.state_dict()))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_run_predicts_as_before(name, tmp_path):
    run = trained(tmp_path / "run", *settings(name))
    path = Path(FILES[name][1])
    new = copy(path)
    before, kept = dlx("predict", run.directory, new), Path(shutil.move(path, tmp_path / f"kept{path.suffix}"))
    for event in EVENTS.values():
        if path.exists():
            remove(path)
        shutil.copytree(kept, path) if kept.is_dir() else shutil.copy(kept, path)
        event[name](path)
        assert dlx("predict", run.directory, new) == before


def test_every_dataset_of_files_is_here():
    assert CHANGED.keys() == REORDERED.keys() == FILES.keys() == MODELS.keys()
