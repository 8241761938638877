"""A run directory is whole or not there, and one process at a time trains in it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dlx.errors import UsageError
from dlx.hardware.signals import SIGNALS, catch_interrupts
from dlx.runs.atomic import write_atomically
from dlx.runs.lock import lock_run
from dlx.runs.rundir import Run, find_runs

HOLDER = (
    "import sys, time; from pathlib import Path; from dlx.runs.lock import lock_run\n"
    "with lock_run(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("count", range(1, 4))
def test_a_kill_between_the_files_leaves_a_whole_run_or_none(count, tmp_path, monkeypatch):
    """Whichever rename is the last that happens, run.json is there only beside config.yaml."""
    replace, done = Path.replace, []

    def kill_at(self, target):
        done.append(target)
        if len(done) == count:
            os._exit(9)
        return replace(self, target)

    def create():
        Path.replace = kill_at
        Run.create(tmp_path / "run", {"metrics": {}}, "seed: 0\n")
        os._exit(0)

    child = multiprocessing.get_context("fork").Process(target=create)
    child.start()
    child.join()
    whole = (tmp_path / "run" / "run.json").exists()
    assert child.exitcode == (9 if count <= 2 else 0)
    assert whole == (count > 2)
    assert bool(list(find_runs(tmp_path))) == whole
    if whole:
        assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 0\n"
        assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match="No space left"):
        Run.create(tmp_path / "run", {}, "seed: 0\n")
    assert not list((tmp_path / "run").iterdir())


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    file = tmp_path / "x"
    write_atomically(file, "old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        write_atomically(file, "new" * 10_000)
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


@pytest.mark.integration
def test_two_at_once_are_refused_and_a_killed_holder_holds_nothing(mine):
    from dlx.run import resume
    from dlx.runs.saved import load_config

    holder = subprocess.Popen([sys.executable, "-c", HOLDER, mine.directory], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        before = (mine.directory / "run.json").read_bytes()
        config = load_config(mine)
        config.trainer.epochs = 3
        with pytest.raises(UsageError, match=r"is being trained by another process \(process \d+ on "):
            resume(mine, config)
        assert (mine.directory / "run.json").read_bytes() == before
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with lock_run(mine.directory), lock_run(mine.directory):
        pass
    assert resume(mine, config).read()["status"] == "finished"


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_that_asks_to_stop(number):
    before = signal.signal(number, signal.SIG_DFL)  # under nohup a hang-up is ignored
    try:
        with catch_interrupts() as interrupt:
            os.kill(os.getpid(), number)
            assert interrupt
            assert interrupt.name == signal.Signals(number).name
    finally:
        signal.signal(number, before)


def test_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catch_interrupts() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt
    finally:
        signal.signal(signal.SIGHUP, before)


def read_lines(run):
    lines = (json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in ("time", "train/seconds")} for line in lines]


def test_best_without_last_begins_again_as_if_nothing_had_been(mine, digits):
    """What a kill within the first save leaves: best.pt, and neither last.pt nor previous.pt."""
    import torch

    from dlx.run import resume
    from dlx.runs.saved import load_config
    from tests.conftest import same

    for name in ("last.pt", "previous.pt"):
        (mine.checkpoints / name).unlink(missing_ok=True)
    resume(mine, load_config(mine))
    states = [torch.load(run.checkpoints / "last.pt", weights_only=True) for run in (mine, digits)]
    assert same(*[{key: state[key] for key in ("model", "procedure")} for state in states])
    assert [list(line) for line in read_lines(mine)] == [list(line) for line in read_lines(digits)]
    losses = [[line.get("train/loss") for line in read_lines(run)] for run in (mine, digits)]
    assert losses[0] == losses[1]
    assert len(list(mine.directory.glob("events.out.tfevents.*"))) == 1, "one event file, as of an uninterrupted run"


def test_a_run_without_config_yaml_resumes_from_hydras(tmp_path, monkeypatch):
    from omegaconf import OmegaConf

    from dlx.config.compose import compose
    from dlx.runs.saved import load_config

    run = Run.create(tmp_path / "run", {"metrics": {}})
    (run.directory / ".hydra").mkdir()
    config = compose(["scheduler=cosine"])
    file = run.directory / ".hydra" / "config.yaml"
    OmegaConf.save(config, file)
    assert "${" in file.read_text()
    assert load_config(run) == config
    file.write_text(file.read_text().replace("seed: 0", "seed: ${oc.env:HOME}"))
    with pytest.raises(UsageError, match="interpolation"):
        load_config(run)


def test_a_second_signal_waits_for_the_save():
    from dlx.hardware.signals import postpone_interrupts

    done = []
    with catch_interrupts():
        os.kill(os.getpid(), signal.SIGINT)

        def save():
            with postpone_interrupts():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("saved")

        with pytest.raises(KeyboardInterrupt):
            save()
        assert done == ["saved"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
