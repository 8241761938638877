"""dlx resume: the same directory, the same curves, and what it refuses."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from dlx import api
from dlx.errors import UsageError
from tests.verbs import SHORT, dlx, trained


def test_resume_goes_on_in_the_same_directory(mine, tmp_path):
    said = dlx("resume", mine.directory)
    assert "2 of 2 epochs" in said
    assert "trainer.epochs=4" in said
    dlx("resume", mine.directory, "trainer.epochs=4")
    whole = trained(tmp_path / "whole", *SHORT, "trainer.epochs=4")
    ours, theirs = mine.read(), whole.read()
    assert (ours["status"], ours["epoch"]) == ("finished", 4)
    names = [name for name in theirs["metrics"] if "second" not in name]
    assert {n: ours["metrics"][n] for n in names} == {n: theirs["metrics"][n] for n in names}
    assert "4 of 4 epochs" in dlx("resume", mine.directory)


def test_resume_by_steps_and_by_patience(tmp_path):
    run = trained(tmp_path / "run", *SHORT, "trainer.max_steps=5")
    assert "trainer.max_steps=10" in dlx("resume", run.directory)
    dlx("resume", run.directory, "trainer.max_steps=7")
    assert run.read()["step"] == 7
    run = trained(tmp_path / "early", *SHORT, "optimizer.lr=0", "trainer.patience=1", "trainer.epochs=9")
    assert run.read()["epoch"] < 9
    assert "trainer.patience=null" in dlx("resume", run.directory)


def test_resume_knows_when_a_learner_is_done(tmp_path):
    run = trained(tmp_path / "run", "model=naive_bayes")
    assert "another pass would change nothing" in dlx("resume", run.directory, "trainer.epochs=3")


def test_resume_refuses_another_run(mine):
    with pytest.raises(UsageError, match=r"optimizer\.lr: 0\.01 → 0\.1\n"):
        dlx("resume", mine.directory, "optimizer.lr=0.1", "trainer.epochs=9")
    dlx("resume", mine.directory, "optimizer.lr=1e-2")  # no change is no offence


def test_resume_refuses_a_run_that_is_still_running(mine):
    mine.update(status="running", host=platform.node(), pid=os.getpid(), started="2199-01-01T00:00:00+00:00")
    with pytest.raises(UsageError, match="still being trained"):
        dlx("resume", mine.directory)


def test_resume_after_a_kill_and_a_damaged_checkpoint(mine, capfd):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dlx("resume", mine.directory, "trainer.epochs=3")
    (mine.checkpoints / "last.pt").write_bytes(b"half")
    mine.update(status="running", pid=gone.pid)
    said = dlx("resume", mine.directory, "trainer.epochs=4")
    assert mine.read()["status"] == "finished"
    assert "previous.pt" in said + "".join(capfd.readouterr())


def test_resume_after_a_kill_before_the_first_checkpoint(mine, digits):
    import shutil

    shutil.rmtree(mine.checkpoints)
    mine.update(status="running", pid=0, host="elsewhere", metrics={})
    with pytest.raises(UsageError, match="still being trained"):
        dlx("resume", mine.directory)
    mine.update(status="interrupted")
    dlx("resume", mine.directory)
    again, first = mine.read(), digits.read()
    assert (again["status"], again["step"]) == ("finished", first["step"])
    assert again["metrics"]["test/loss"] == first["metrics"]["test/loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "interval"),
    [
        (["scheduler=cosine"], "epoch"),
        (["scheduler=one_cycle", "optimizer=momentum"], "step"),
        (["scheduler=momentum_ramp", "optimizer=momentum", "scheduler.total=${trainer.epochs}"], "epoch"),
    ],
)
def test_a_schedule_that_ends_with_the_run_is_stretched_by_a_resume(tmp_path, monkeypatch, schedule, interval):
    monkeypatch.chdir(tmp_path)
    words = ["model.hidden=[8]", "dataset.limit=200", "trainer.batch=50", "trainer.device=cpu", *schedule]
    api.train(*words, "trainer.epochs=4", "hydra.run.dir=short")
    dlx("resume", "short", "trainer.epochs=8")
    api.train(*words, "trainer.epochs=8", "hydra.run.dir=long")
    ours, theirs = (rates(tmp_path / name) for name in ("short", "long"))
    assert len(ours) == len(theirs) == 8
    assert ours[4:] == pytest.approx(theirs[4:], rel=1e-6)
    if interval == "epoch":  # what ended low goes on where the longer schedule stands
        assert ours[3] == pytest.approx(0, abs=1e-9) != ours[4]
    last = torch.load(tmp_path / "short/checkpoints/last.pt", weights_only=True)["procedure"]["schedule"]
    assert str(8) in last["given"].values()


def test_a_schedule_of_a_given_length_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["model.hidden=[8]", "dataset.limit=200", "scheduler=cosine", "scheduler.T_max=4", "trainer.device=cpu"]
    api.train(*words, "trainer.epochs=4", "hydra.run.dir=run")
    dlx("resume", "run", "trainer.epochs=6")
    assert "T_max: 4" in (tmp_path / "run/config.yaml").read_text()
    found = rates(tmp_path / "run")
    assert found[5] > found[4] > found[3]  # half a cosine more leads up again, as torch has it


def rates(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["train/lr"] for line in lines if "train/lr" in line]
