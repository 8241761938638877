"""How runs of several processes end: by a signal, by a mistake, or because one of the processes is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.integration]

LONG = ["trainer=ddp", "trainer.processes=2", "trainer.device=cpu", "trainer.epochs=1000000", "hydra.run.dir=run"]


def start(*words: str, **variables: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def learning(started: subprocess.Popen) -> dict:
    """Wait until curves are written; what run.json says."""
    until = time.monotonic() + 120
    while not (Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size):
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
    return about()


def about() -> dict:
    return json.loads(Path("run/run.json").read_text())


def test_a_signal_saves_and_exits_with_130():
    started = start("dlx", "train", *LONG)
    learning(started)
    started.send_signal(signal.SIGTERM)
    said, wrong = started.communicate(timeout=60)
    assert started.returncode == 130
    assert wrong.count("stopped by SIGTERM after step") == 1
    assert "death signal" not in wrong  # torchrun's own words
    assert said.count("mlp on digits") == 1  # by one process
    assert (about()["status"], about()["processes"], about()["global_batch"]) == ("interrupted", 2, 128)
    assert Path("run/checkpoints/last.pt").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_a_process_that_is_killed_ends_the_run():
    started = start("dlx", "train", *LONG)
    first = learning(started)["pid"]
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    (other,) = (
        int(pid) for pid in children if int(pid) != first and b"dlx" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(other, signal.SIGKILL)
    _, wrong = started.communicate(timeout=60)
    assert started.returncode == 1
    assert wrong.count(f"rank 1 died (process {other}") == 1
    assert about()["status"] == "failed"
    assert about()["error"].startswith("rank 1 died")


MINE = """
import os
import signal
from dlx.procedures.backprop import Backprop
from dlx.runs.rundir import Run

update = Run.update

def told_to_go(run, **content):
    if "error" in content and os.environ.get("RANK") == "0":
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun's, which may come as late as this
    update(run, **content)

Run.update = told_to_go

class Mine(Backprop):
    def step(self, batch):
        if os.environ.get("RANK") == "1" and self.updates == 3:
            raise ValueError("a bad batch")
        return super().step(batch)
"""


def test_an_error_in_one_process_is_told_by_the_first(tmp_path):
    Path("mine.py").write_text(MINE)
    Path("conf/procedure").mkdir(parents=True)
    Path("conf/procedure/mine.yaml").write_text("_target_: mine.Mine\n")
    started = start("dlx", "train", *LONG, "procedure=mine")
    _, wrong = started.communicate(timeout=120)
    assert started.returncode == 1
    assert "rank 1 failed: ValueError: a bad batch" in wrong
    assert f"{tmp_path / 'mine.py'}:19" in wrong
    assert about()["status"] == "failed"
    assert "a bad batch" in about()["error"]


@pytest.mark.parametrize(("words", "told"), [
    (["trainer=ddp", "model=svm"], "learns in one process only; type trainer=default"),
    ([], "torchrun started 2 processes, and trainer.strategy is null"),
])  # fmt: skip
def test_a_mistake_is_told_once_and_leaves_nothing(words, told):
    started = start("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dlx", "train", *words)
    said, wrong = started.communicate(timeout=120)
    assert started.returncode == 1  # torchrun's own
    assert "exitcode  : 2" in wrong
    assert (said + wrong).count(told) == 1
    assert not list(Path().iterdir())


def main(*words: str) -> str:
    from dlx.cli.main import run
    from dlx.errors import UsageError

    with pytest.raises(UsageError) as caught:
        run(list(words))
    return str(caught.value)


@pytest.mark.parametrize(("words", "told"), [
    (["trainer=ddp", "model=kmeans", "dataset=iris"], "procedure=fit learns in one process only"),
    (["trainer=ddp", "model=hopfield"], "procedure=hebbian learns in one process only"),
    (["trainer=ddp", "model=neural_gas"], "procedure=competitive learns in one process only"),
    (["trainer=fsdp", "model=rbm"], "type trainer=ddp"),
    (["trainer=fsdp", "model=gru", "dataset=casino", "procedure=tbptt"], "type trainer=ddp"),
    (["trainer=fsdp", "trainer.precision=16"], "trainer.precision=32 or bf16"),
    (["trainer=ddp", "procedure.compile=step"], "type procedure.compile=null"),
    (["trainer.processes=2"], "type trainer=ddp trainer.processes=2"),
    (["-m", "trainer=ddp", "seed=1,2"], "needed: a single run"),
])  # fmt: skip
def test_what_cannot_be_shared_is_refused(words, told):
    assert told in main("train", *words)
    assert not list(Path().iterdir())


def test_a_strategy_by_itself_is_a_run_like_any_other(train):
    run = train("run", "trainer=ddp", "trainer.epochs=1", "dataset.limit=64")
    assert run.read()["status"] == "finished"
    assert "processes" not in run.read()
