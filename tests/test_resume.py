"""dlx resume: the same directory, the same curves, and what it refuses."""

import os
import platform
import subprocess
import sys

import pytest

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
