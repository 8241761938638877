"""What happens to a run's directory while it is trained: it is deleted, its disk is full."""

import os
import shutil

import pytest
import torch

from dlx.config.validate import ROOT_KEYS
from dlx.errors import TrainingError
from dlx.runs.outcome import FILE, record_end, reserve_space
from dlx.runs.rundir import Run
from dlx.training.callbacks.callback import Callback
from dlx.training.checkpoint import save


class Do(Callback):
    """Do something at the end of an epoch."""

    def __init__(self, action):
        self.action = action

    def on_epoch_end(self, training):
        if training.epoch == 2:
            self.action()


@pytest.mark.parametrize("way", ["deleted", "moved"])
@pytest.mark.parametrize("save_every", [0, 1000])
def test_a_directory_that_goes_ends_the_run(way, save_every, tmp_path):
    """At the next flush or save, long before the end, with one line; nothing of it comes back."""
    from dlx.config.compose import compose
    from dlx.run import train_in

    run, seen = tmp_path / "run", []

    def go():
        shutil.rmtree(run) if way == "deleted" else run.rename(tmp_path / "elsewhere")

    class Count(Callback):
        def on_epoch_start(self, training):
            seen.append(training.epoch)

    config = compose(["trainer.device=cpu", "trainer.epochs=400", f"trainer.save_every={save_every}"])
    with pytest.raises(TrainingError, match=r"run is gone: it was deleted or moved") as caught:
        train_in(run, config, {"overrides": []}, callbacks=(Do(go), Count()))
    assert "\n" not in str(caught.value)
    assert max(seen) <= 3
    assert not run.exists()


def test_a_checkpoint_makes_no_deleted_run_again(tmp_path):
    with pytest.raises(TrainingError, match="is gone"):
        save(tmp_path / "run" / "checkpoints" / "last.pt", {"x": torch.zeros(1)})
    assert not (tmp_path / "run").exists()


def test_a_full_disk_records_the_failure_in_the_space_kept_for_it(tmp_path, monkeypatch):
    """As long as the reserve is there, nothing can be written."""
    run = Run(tmp_path)
    run.write({"status": "running"})
    sync = os.fsync

    def fail_while_reserved(descriptor):
        if (tmp_path / FILE).exists():
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_while_reserved)
    with reserve_space(tmp_path):
        assert (tmp_path / FILE).stat().st_blocks * 512 >= 16_384
        record_end(run, {"status": "failed"}, 1.0, None)
        assert run.read() == {"status": "failed", "seconds": 1.0}
    assert not (tmp_path / FILE).exists()


def test_an_outcome_that_cannot_be_written_is_said(tmp_path, monkeypatch, capfd):
    run = Run(tmp_path)
    run.write({"status": "running"})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    record_end(run, {"status": "failed"}, 1.0, None)
    line = capfd.readouterr().err.strip()
    assert "run.json could not be written (Input/output error): it does not say that the run is failed" in line


@pytest.mark.parametrize("seed", [10**23, 2**32, -1, 1.5])
def test_seeds_beyond_what_the_libraries_take_are_refused(seed):
    assert not ROOT_KEYS["seed"].accepts(seed)
    assert ROOT_KEYS["seed"].accepts(2**32 - 1)
    assert "[0, 4294967295]" in str(ROOT_KEYS["seed"])
