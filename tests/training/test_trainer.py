"""The loop's promises: it stops when it should, saves what it should, and goes on as if it had never stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from dlx.distributed.group import SingleProcess
from dlx.errors import Interrupted, TrainingError, UsageError
from dlx.runs.rundir import Run
from dlx.training.checkpoint import load
from dlx.training.evaluate import evaluate
from tests.conftest import same
from tests.test_registry import curves

QUICK = ("dataset.limit=320", "trainer.batch=32")


def test_lengths(train):
    assert train("a", "trainer.epochs=3", *QUICK).read()["step"] == 30
    assert train("b", "trainer.epochs=3", "trainer.max_steps=7", *QUICK).read()["step"] == 7
    assert train("c", "trainer.epochs=2", *QUICK, "trainer.batch=full").read()["step"] == 2


def test_early_stopping_waits_for_its_patience(train):
    run = train("a", "trainer.epochs=50", "trainer.patience=3", "trainer.min_delta=2", *QUICK)
    # accuracy can never gain 2: the first validation sets the mark, three more wait
    assert run.read()["epoch"] == 4


def test_best_is_the_best_on_validation_and_the_test_is_measured_with_it(train):
    from omegaconf import OmegaConf

    from dlx.parts import assemble

    run = train("a", "trainer.epochs=12", "optimizer.lr=0.02", *QUICK)
    points = curves(run)
    accuracies = {step: value for (step, name), value in points.items() if name == "val/accuracy"}
    best = load(run.checkpoints / "best.pt")
    assert best["value"] == max(accuracies.values())
    assert best["step"] == max(step for step, value in accuracies.items() if value == best["value"])
    parts = assemble(OmegaConf.load(run.directory / "config.yaml"))
    parts.model.load_state_dict(best["model"])
    tested = evaluate(parts.model, parts.task, parts.data.split("test"))
    metrics = run.read()["metrics"]
    assert tested["accuracy"] == metrics["test/accuracy"]
    assert metrics["val/best_accuracy"] == best["value"]


def test_test_split_is_never_seen_in_training(train):
    run = train("a", "trainer.epochs=2", *QUICK)
    lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "test/accuracy" in line] == [20]


def test_nan_stops_with_the_step_and_keeps_the_last_good_checkpoint(train, resume, tmp_path):
    run = train("a", "trainer.epochs=1", *QUICK)
    good = load(run.checkpoints / "last.pt")
    content = json.loads((tmp_path / "a" / "run.json").read_text())
    assert content["status"] == "finished"
    with pytest.raises(TrainingError, match=r"step 2 \(epoch 1\).*optimizer\.lr.*") as stopped:
        train("b", "trainer.epochs=5", "optimizer=sgd", "optimizer.lr=1e30", "trainer.save_every=0", *QUICK)
    assert "not finite" in str(stopped.value)
    about = json.loads((tmp_path / "b" / "run.json").read_text())
    assert about["status"] == "failed"
    assert "not finite" in about["error"]
    assert all(torch.isfinite(value).all() for value in good["model"].values())
    broken = tmp_path / "b" / "checkpoints" / "last.pt"
    if broken.exists():
        assert all(torch.isfinite(value).all() for value in load(broken)["model"].values())


def test_bad_parts_leave_no_directory(train, tmp_path):
    with pytest.raises(UsageError):
        train("a", "optimizer.lr=-1", *QUICK)
    with pytest.raises(UsageError, match="cuda:7"):
        train("a", "trainer.device=cuda:7", *QUICK)
    assert not (tmp_path / "a").exists()


def test_accumulation_survives_a_resume_in_its_middle(train, resume):
    words = ("trainer.epochs=2", "procedure.accumulate=3", *QUICK)
    straight = train("a", *words)
    stopped = train("b", *words, "trainer.max_steps=5")  # two batches wait for their third
    resume(stopped, trainer__max_steps=None)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert same(one["model"], two["model"])
    assert same(one["procedure"], two["procedure"])


@pytest.mark.parametrize("scheduler", ["cosine", "plateau", "step", "one_cycle"])
def test_schedules_survive_a_resume(train, resume, scheduler, tmp_path, monkeypatch):
    words = ("trainer.epochs=4", f"scheduler={scheduler}", *QUICK)
    straight = train("a", *words)
    with monkeypatch.context() as patch:
        patch.setattr(SingleProcess, "should_stop", lambda self, interrupt, step: step == 15)
        with pytest.raises(Interrupted):
            train("b", *words)
    stopped = Run(tmp_path / "b")
    resume(stopped)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    assert same(one["model"], two["model"])
    assert same(one["procedure"], two["procedure"])
    assert curves(straight) == curves(stopped)


def start(tmp_path, *words):
    """A long training in a process of its own; returns when its first checkpoint stands."""
    words = (*words, "hydra.run.dir=run", "trainer.epochs=100000", "trainer.save_every=0.2", "trainer.device=cpu")
    process = subprocess.Popen(
        [sys.executable, "-m", "dlx", "train", "model.dropout=0.1", *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for _ in range(600):
        if (tmp_path / "run" / "checkpoints" / "last.pt").exists():
            return process
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("no checkpoint within 30 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_exits_130(tmp_path, number):
    process = start(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["status"] == "interrupted"
    last = load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert last["trainer"]["step"] == about["step"]


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, train, resume):
    from dlx.runs.rundir import Run

    process = start(tmp_path)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    run = Run(tmp_path / "run")
    step = load(run.checkpoints / "last.pt")["trainer"]["step"]
    resume(run, trainer__epochs=100000, trainer__max_steps=step + 25, trainer__threads=1)
    straight = train("straight", "model.dropout=0.1", "trainer.epochs=100000", f"trainer.max_steps={step + 25}")
    one, two = (load(each.checkpoints / "last.pt") for each in (straight, run))
    for part in ("model", "procedure", "random"):
        assert same(one[part], two[part]), part
    assert curves(straight) == curves(run)


def test_bf16_learns_within_a_pass(train):
    """One pass of 90 steps: with weights cast once for all, as autocast's cache would, the loss hardly falls."""
    short = ("trainer.epochs=1", "trainer.batch=16", "optimizer.lr=3e-3", "model.hidden=[64]")
    exact, low = (train(name, *short, f"trainer.precision={name}").read()["metrics"] for name in ("32", "bf16"))
    assert low["val/loss"] == pytest.approx(exact["val/loss"], rel=0.1)
    assert low["train/loss"] == pytest.approx(exact["train/loss"], rel=0.1)
