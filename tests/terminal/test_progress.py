"""What a run says, on a terminal and elsewhere."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dlx.terminal.progress import Progress, _format_duration
from tests.conftest import ROOT

ABOUT = {"model": "mlp", "dataset": "digits", "parameters": 2410, "device": "cpu", "threads": 1, "precision": "32"}
METRICS = {"train/loss": 0.125, "train/lr": 0.1, "val/accuracy": 0.98765, "test/accuracy": 0.9777, "test/loss": 1e-7}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def config(**trainer: Any) -> dict[str, dict[str, Any]]:
    return {"trainer": {"epochs": 3, "batch": 64, "max_steps": None, "patience": None, **trainer}}


def run(progress: Progress, directory: Path | str = "outputs/run", about: Mapping[str, Any] = ABOUT) -> None:
    progress.show_plan(about, config(), 23)
    progress.start(3, 23)
    for epoch in range(1, 4):
        for step in range(1, 24):
            progress.step(step)
        progress.end_epoch(epoch, {"train/loss": 1 / epoch, "train/lr": 0.1, "val/accuracy": 1 - 1 / epoch}, 0.25)
    progress.close()
    progress.show_summary(METRICS, directory, 75.4)


def test_one_line_an_epoch_elsewhere() -> None:
    file = io.StringIO()
    run(Progress(file=file))
    lines = file.getvalue().splitlines()
    assert lines == [
        "mlp on digits · 2,410 parameters · cpu, 1 thread, float32 · 3 epochs × 23 steps of 64",
        "epoch 1/3 · train/loss 1 · val/accuracy 0 · 0.25 s",
        "epoch 2/3 · train/loss 0.5 · val/accuracy 0.5 · 0.25 s",
        "epoch 3/3 · train/loss 0.3333 · val/accuracy 0.6667 · 0.25 s",
        "          train     val    test",
        "loss      0.125           1e-07  ↓",
        "accuracy         0.9877  0.9777  ↑",
        "1 min 15 s · outputs/run",
        "  dlx tensorboard outputs/run",
        "  dlx evaluate outputs/run",
        "  dlx resume outputs/run trainer.epochs=6",
    ]


def test_plan_names_what_matters() -> None:
    file = io.StringIO()
    about = {**ABOUT, "device": "cuda:0", "gpu": "H100", "precision": "bf16", "parameters": 1}
    Progress(file=file).show_plan(about, config(epochs=1, max_steps=1000, batch="full", patience=5), 1, note="a note")
    assert file.getvalue().splitlines() == [
        "mlp on digits · 1 parameter · H100, bfloat16 · 1 epoch × 1 step of full, at most 1,000 steps, "
        "fewer if 5 validations in a row bring nothing",
        "a note",
    ]


def test_commands_work_where_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = io.StringIO()
    Progress(file=file).show_summary({}, tmp_path / "my runs" / "one", 1)
    assert "  dlx evaluate 'my runs/one'" in file.getvalue().splitlines()


def test_quiet_says_nothing() -> None:
    for file in (io.StringIO(), Terminal()):
        run(Progress(quiet=True, file=file))
        assert file.getvalue() == ""


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("dlx.terminal.progress.REFRESH", 0.0)
    file = Terminal()
    run(Progress(file=file))
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "epoch 2/3" in told
    assert "val/accuracy 0.5" in told
    assert "100%" in told
    assert "0.9777" in told
    assert "dlx resume outputs/run" in told
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1  # the cursor is back


def test_bar_is_drawn_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock = [0.0]
    monkeypatch.setattr("dlx.terminal.progress.time.monotonic", lambda: clock[0])
    file = Terminal()
    progress = Progress(file=file)
    progress.start(1, 1000)
    written = []
    for step in range(1000):  # a second of steps
        clock[0] += 0.001
        before = file.tell()
        progress.step(step)
        written.append(file.tell() > before)
    progress.close()
    progress.close()
    assert 5 <= sum(written) <= 11


def test_bar_goes_on_where_a_resumed_run_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress(file=Terminal())
    progress.show_plan(ABOUT, config(max_steps=60), 23)
    progress.start(3, 23, 1, 7)
    (task,) = progress._bar.tasks
    assert (task.completed, task.total) == (30, 60)
    progress.close()


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-2"])
def test_odd_encodings(encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    run(Progress(file=file), about={**ABOUT, "dataset": "dätä"})
    file.flush()
    told = raw.getvalue().decode("ascii")
    assert told.startswith("mlp on d?t? | 2,410 parameters | cpu, 1 thread, float32 | 3 epochs x 23 steps of 64")


def test_training_goes_on_when_nobody_reads() -> None:
    script = """
import sys
from dlx.terminal.progress import Progress
progress = Progress()
sys.stdin.readline()  # until the reader is gone
for epoch in range(1000):
    progress.end_epoch(epoch, {"train/loss": 1.0}, 1.0)
sys.stderr.write("trained")
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stdin is not None
    assert child.stderr is not None
    child.stdin.write(b"\n")
    child.stdin.close()
    assert child.stderr.read() == b"trained"
    child.stderr.close()
    assert child.wait() == 0


def test_durations() -> None:
    told = [_format_duration(seconds) for seconds in (0.0123, 2.345, 12.3, 59.9, 61, 3600 * 25 + 60)]
    assert told == ["0.012 s", "2.3 s", "12 s", "60 s", "1 min 1 s", "25 h 1 min"]
