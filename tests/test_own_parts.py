"""The README's examples of one's own network, dataset, procedure and logger, run as written."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.integration]

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A user's directory holding the README's files."""
    section = README[README.index("## Your own parts") :]
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", section, flags=re.DOTALL)
    (tmp_path / "mine.py").write_text("\n\n".join(text for kind, text in blocks if kind == "python"))
    yamls = [text for kind, text in blocks if kind == "yaml"]
    names = re.findall(r"`conf/(\w+/\w+)\.yaml`", section)
    for text, name in zip(yamls, names, strict=True):
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def dlx(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dlx", *words], cwd=place, capture_output=True, text=True, check=False, env=os.environ
    )


def metrics(place: Path) -> dict[str, float]:
    done = dlx(place, "runs", "--json")
    return json.loads(done.stdout)[0]["metrics"]


def test_own_network_learns_resumes_and_is_evaluated(place):
    done = dlx(place, "train", "model=highway", "model.bias=-2", "optimizer.lr=3e-3", "trainer.epochs=10")
    assert done.returncode == 0, done.stderr
    assert metrics(place)["test/accuracy"] > 0.9
    done = dlx(place, "resume", "last", "trainer.epochs=12")
    assert done.returncode == 0, done.stderr
    done = dlx(place, "evaluate", "last", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test/accuracy"] > 0.9


def test_own_dataset_and_procedure(place):
    words = ("model=highway", "dataset=parity", "procedure=random_search", "trainer.epochs=4")
    done = dlx(place, "train", *words)
    assert done.returncode == 0, done.stderr
    lines = (next(place.glob("outputs/parity/highway/*")) / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["epoch"] == 4
    done = dlx(place, "train", "dataset=parity", "trainer.epochs=60", "optimizer.lr=5e-3")
    assert done.returncode == 0, done.stderr
    assert metrics(place)["test/accuracy"] > 0.9, "an MLP learns the parity of eight bits"


def test_own_callback_stops_and_resumes(place):
    done = dlx(
        place, "train", "callbacks=[target,time_limit]", "callbacks.target.value=0.9", "callbacks.target.times=2"
    )
    assert done.returncode == 0, done.stderr
    assert "stopped after epoch" in done.stdout
    about = json.loads(dlx(place, "runs", "--json").stdout)[0]
    assert about["epoch"] < 60
    assert about["metrics"]["val/best_accuracy"] >= 0.9
    assert about["stopped"] == "val/accuracy has reached 0.9 2 times"
    done = dlx(place, "resume", "last")
    assert done.returncode == 0, done.stderr
    again = json.loads(dlx(place, "runs", "--json").stdout)[0]
    assert again["stopped"] == "val/accuracy has reached 0.9 3 times", "it went on counting"
    assert again["epoch"] > about["epoch"]


def test_own_metric_ranks_runs_searches_and_lowers_the_rate(place):
    done = dlx(place, "train", "task=calibrated", "scheduler=plateau", "trainer.epochs=3")
    assert done.returncode == 0, done.stderr
    assert "mode: min" in next(place.glob("outputs/digits/mlp/*/config.yaml")).read_text()
    words = ("task=calibrated", "optimizer.lr=1e-5,1e-2", "trainer.epochs=3", "--metric", "val/squared_gap")
    done = dlx(place, "sweep", "gap", *words, "--sampler", "grid")
    assert done.returncode == 0, done.stderr
    best = next(line for line in done.stdout.splitlines() if "dlx train" in line)
    assert "optimizer.lr=0.01" in best
    listed = dlx(place, "list", "metrics")
    assert "squared distance of probabilities and one-hot label  (yours)" in listed.stdout
    undirected = dlx(place, "sweep", "other", *words[:3], "--metric", "val/squared_gab")
    assert undirected.returncode == 2
    assert "did you mean val/squared_gap?" in undirected.stderr
    shutil.rmtree(place / "conf")
    (place / "mine.py").unlink()  # run.json says which way is better
    ranked = json.loads(dlx(place, "runs", "--best", "test/squared_gap", "--json").stdout)
    assert ranked[0]["directions"]["test/squared_gap"] == "min"
    values = [about["metrics"]["test/squared_gap"] for about in ranked]
    assert len(values) == 3
    assert values == sorted(values)
    assert values[0] < 0.2 < 0.8 < values[-1]


def test_own_logger_goes_on_where_a_resumed_run_does(place):
    words = ("model=highway", "logger=[csv,sqlite]", "logger.sqlite.path=all.db")
    done = dlx(place, "train", *words, "trainer.epochs=2")
    assert done.returncode == 0, done.stderr
    done = dlx(place, "resume", "last", "trainer.epochs=3")
    assert done.returncode == 0, done.stderr
    run = next(place.glob("outputs/digits/highway/*"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {(line["step"], tag) for line in lines for tag in line if "/" in tag}
    with contextlib.closing(sqlite3.connect(place / "all.db")) as database:
        rows = database.execute("SELECT run, step, tag, value FROM metrics").fetchall()
    assert {(step, tag) for _, step, tag, _ in rows} == expected
    assert {name for name, *_ in rows} == {run.name}
    losses = {step: value for _, step, tag, value in rows if tag == "train/loss"}
    assert losses == pytest.approx({line["step"]: line["train/loss"] for line in lines if "train/loss" in line})
    assert json.loads((run / "run.json").read_text())["notes"] == ["42 updates in all"]
    assert (run / "metrics.csv").is_file()
    wrong = dlx(place, "train", *words, "logger.sqlite.pth=x.db")
    assert wrong.returncode == 2
    assert "type logger.sqlite.path=x.db" in wrong.stderr


def test_own_parts_are_listed_and_mistyped_keys_found(place):
    listed = json.loads(dlx(place, "list", "models", "--json").stdout)
    assert any(entry["name"] == "highway" for entry in listed)
    wrong = dlx(place, "train", "model=highway", "model.biass=1")
    assert wrong.returncode == 2
    assert "bias" in wrong.stderr
    assert not (place / "outputs").exists()


def test_a_strangers_run_may_not_bring_its_own_code(place):
    assert dlx(place, "train", "model=highway", "trainer.epochs=1").returncode == 0
    shutil.rmtree(place / "conf")  # now nothing of the user's own names mine.Highway
    refused = dlx(place, "evaluate", "last")
    assert refused.returncode == 2
    assert "mine.Highway" in refused.stderr
    assert "allow=[mine]" in refused.stderr
    assert dlx(place, "evaluate", "last", "allow=[mine]").returncode == 0


def test_own_code_is_found_where_the_run_was_started(place, tmp_path_factory):
    """From any directory, once it is trusted; the refusal names the file, and the advice that it gives works."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = dlx(place, "train", "model=highway", "dataset=parity", "trainer.epochs=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    refused = dlx(elsewhere, "evaluate", str(place / "run"), "--json")
    assert refused.returncode == 2
    assert f"type 'allow=[mine]'; its code is {place / 'mine.py'}, where the run was started" in refused.stderr
    done = dlx(elsewhere, "evaluate", str(place / "run"), "--json", "allow=[mine]")
    assert done.returncode == 0, done.stderr
    assert f"mine is taken from {place / 'mine.py'}" in done.stderr
    assert json.loads(done.stdout) == json.loads(dlx(place, "evaluate", "run", "--json").stdout)
