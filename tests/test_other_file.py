"""`dlx evaluate RUN dataset.path=OTHER` measures all of another file, whatever kind of file it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dlx.errors import UsageError
from tests.verbs import trained


def evaluate(run, *words):
    """The metrics, and what is said of them."""
    from click.testing import CliRunner

    from dlx.cli.commands.evaluate import command

    given = [str(run.directory), *words, "--json"]
    result = CliRunner().invoke(command, given, catch_exceptions=False, standalone_mode=False)
    return json.loads(result.stdout), result.stderr


CUT = ("trainer.epochs=1", "trainer.pictures=false")


def write_csv(path, n, seed):
    rng = np.random.default_rng(seed)
    rows = [f"{a:.3f},{b:.3f},{'cat' if a + b > 0 else 'dog'}" for a, b in rng.normal(size=(n, 2))]
    Path(path).write_text("a,b,pet\n" + "\n".join(rows) + "\n")


def write_npz(path, n, seed):
    x = np.random.default_rng(seed).normal(size=(n, 3))
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(int))


def write_pictures(path, n, seed):
    from PIL import Image

    rng = np.random.default_rng(seed)
    for i in range(n):
        folder = Path(path, "ab"[i % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4)).astype(np.uint8)).save(folder / f"{i}.png")


def write_series(path, n, seed):
    rng = np.random.default_rng(seed)
    rows = ["\t".join([str(i % 2), *(f"{v:.3f}" for v in rng.normal(size=5))]) for i in range(n)]
    Path(path).write_text("\n".join(rows) + "\n")


def write_sentences(path, n, seed):
    rng = np.random.default_rng(seed)
    words = [("the", "D"), ("cat", "N"), ("sat", "V")]
    sentences = ["\n".join("\t".join(words[k]) for k in (i % 3, *rng.integers(0, 3, 4))) for i in range(n)]
    Path(path).write_text("\n\n".join(sentences) + "\n")


def write_text(path, n, seed):
    letters = np.random.default_rng(seed).integers(0, 4, 8 * n)
    Path(path).write_text("abcd" + "".join("abcd"[k] for k in letters)[4:])


def write_rolls(path, n, seed):
    import scipy.io

    rng = np.random.default_rng(seed)
    cells = np.empty((1, n), dtype=object)
    for i in range(n):
        cells[0, i] = (rng.random((6, 4)) < 0.3).astype(np.uint8)
    scipy.io.savemat(path, {"traindata": cells})


KINDS = {
    "csv": (write_csv, ".csv", ("model=mlp", "model.hidden=[4]")),
    "npz": (write_npz, ".npz", ("model=mlp", "model.hidden=[4]")),
    "image_folder": (write_pictures, "", ("model=mlp", "model.hidden=[4]")),
    "timeseries": (write_series, ".tsv", ("model=gru", "model.hidden=4")),
    "conll": (write_sentences, ".conll", ("model=bilstm", "model.hidden=4")),
    "text": (write_text, ".txt", ("model=gru", "task=prediction", "dataset.length=8", "model.hidden=4")),
    "piano_roll": (write_rolls, ".mat", ("model=gru", "task=prediction", "model.hidden=4")),
}


def test_every_dataset_of_files_is_here():
    from dlx.config.catalogue import Catalogue
    from dlx.config.search import find_search_path

    entries = Catalogue(find_search_path()).entries("dataset")
    assert {entry.name for entry in entries if "path" in entry.node and entry.node["path"] is None} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_another_file_is_measured(kind, tmp_path):
    write, ending, words = KINDS[kind]
    write(f"own{ending}", 30, 0)
    write(f"other{ending}", 20, 1)
    run = trained(tmp_path / "run", f"dataset={kind}", f"dataset.path=own{ending}", *words, *CUT)
    found, said = evaluate(run, f"dataset.path=other{ending}")
    assert f"other{ending}: nothing was learned from it, so that all of its 20 examples are measured" in said
    assert "not what was trained on" in said
    assert found
    assert all(tag.startswith("test/") for tag in found)
    part, said = evaluate(run, f"dataset.path=other{ending}", "--split", "test")
    assert "20 examples are measured" not in said
    assert part != found, "the share that training would have held out"
    # The same bytes elsewhere are the run's own data: the test split, as training measured it.
    (shutil.copytree if Path(f"own{ending}").is_dir() else shutil.copy)(f"own{ending}", f"moved{ending}")
    assert evaluate(run, f"dataset.path=moved{ending}")[0] == evaluate(run)[0]


def test_it_is_what_predictions_say(tmp_path):
    import csv

    from dlx import load

    write_csv("own.csv", 60, 0)
    write_csv("other.csv", 40, 1)
    words = ("dataset=csv", "dataset.path=own.csv", "model=mlp", "model.hidden=[4]")
    run = trained(tmp_path / "run", *words, "trainer.epochs=3", "trainer.pictures=false")
    found = load(str(run.directory), "dataset.path=other.csv").evaluate()
    mine = load(str(run.directory))
    labels = [mine.names[k] for k in mine.predict("other.csv")]
    with Path("other.csv").open(newline="") as file:
        truth = [row["pet"] for row in csv.DictReader(file)]
    assert found["test/accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(labels, truth, strict=True)]))


def test_the_test_file_of_the_run_is_left_out(tmp_path):
    write_csv("own.csv", 30, 0)
    write_csv("own_test.csv", 10, 2)
    write_csv("other.csv", 20, 1)
    words = ("dataset=csv", "dataset.path=own.csv", "dataset.test_path=own_test.csv", "model=mlp", "model.hidden=[4]")
    run = trained(tmp_path / "run", *words, *CUT)
    assert "all of its 20 examples" in evaluate(run, "dataset.path=other.csv")[1]


def test_a_file_with_a_test_split_is_measured_on_it(tmp_path):
    write_npz("own.npz", 30, 0)
    x = np.random.default_rng(1).normal(size=(20, 3))
    np.savez("other.npz", x_train=x[:12], y_train=x[:12, 0] > 0, x_test=x[12:], y_test=x[12:, 0] > 0)
    run = trained(tmp_path / "run", "dataset=npz", "dataset.path=own.npz", "model=mlp", "model.hidden=[4]", *CUT)
    assert "has a split test of its own, which is measured: 8 examples" in evaluate(run, "dataset.path=other.npz")[1]


def test_a_class_that_training_did_not_see_is_refused(tmp_path):
    write_csv("own.csv", 30, 0)
    Path("other.csv").write_text("a,b,pet\n1,2,cat\n1,2,ant\n")
    run = trained(tmp_path / "run", "dataset=csv", "dataset.path=own.csv", "model=mlp", "model.hidden=[4]", *CUT)
    with pytest.raises(UsageError, match="ant"):
        evaluate(run, "dataset.path=other.csv")
