"""Launchers behind Hydra's interface: ours, and those of Hydra's own plugins."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher

from dlx.runs.rundir import find_runs
from dlx.sweeps import plugins, slots

pytestmark = pytest.mark.integration

SHORT = ("dataset=iris", "trainer.epochs=1", "trainer.device=cpu", "logger=[]")


@pytest.fixture
def main(capfd):
    """`dlx -m WORDS`: exit code, and all that this process and its children print."""

    def run(*words):
        from dlx.cli.main import main

        with pytest.raises(SystemExit) as stop:
            main(["-m", *words])
        told = capfd.readouterr()
        return stop.value.code, told.out + told.err

    return run


class Counting(BasicLauncher):
    jobs: list[int] = []  # noqa: RUF012 - a launcher's instance is Hydra's

    def launch(self, job_overrides, initial_job_idx):
        self.jobs.append(len(job_overrides))
        return []


def test_a_launcher_of_ours_is_known_by_its_name(monkeypatch, main):
    monkeypatch.setitem(plugins.PLUGINS, "Counting", f"{__name__}.Counting")
    Path("conf/hydra/launcher").mkdir(parents=True)
    Path("conf/hydra/launcher/counting.yaml").write_text("_target_: hydra_plugins.dlx.Counting\n")
    assert main("hydra/launcher=counting", "seed=1,2,3")[0] == 0
    assert Counting.jobs == [3]


# ---- slots


def test_slots_share_out_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(slots, "count_cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots.make_slots(2) == [slots.Slot(4), slots.Slot(4)]
    assert len(slots.make_slots(None)) == 8
    assert {one.threads for one in slots.make_slots(16)} == {1}
    assert "CUDA_VISIBLE_DEVICES" not in slots.make_slots(2)[0].environment
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-ab")
    assert [one.gpu for one in slots.make_slots(None)] == ["3", "GPU-ab"]
    assert [one.gpu for one in slots.make_slots(3)] == ["3", "GPU-ab", "3"]
    assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in slots.make_slots(None, "cuda")] == ["3", "GPU-ab"]
    assert [one.gpu for one in slots.make_slots(2, "cpu")] == [None, None]


MODEL = """
import os
import signal

from torch import nn


class Net(nn.Sequential):
    def __init__(self, shape, outputs, seed):
        super().__init__(nn.Flatten(), nn.Linear(4, outputs))
        self.seed = seed

    def forward(self, x):
        if self.seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seed == 3:
            raise ValueError("three is odd")
        return super().forward(x)
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A user's network, which is killed where the seed is 2 and fails where it is 3."""
    name = f"net_{tmp_path.name.replace('-', '_')}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path(f"{name}.py").write_text(MODEL)
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/net.yaml").write_text(
        f"# @package _global_\nmodel:\n  _target_: {name}.Net\n"
        "  shape: ${dataset.shape}\n  outputs: ${dataset.outputs}\n  seed: ${seed}\n"
    )
    yield name
    sys.modules.pop(name, None)


@pytest.mark.slow
def test_processes_outlive_a_killed_job_and_take_the_next(main, net, monkeypatch):
    monkeypatch.setattr(slots, "count_cores", lambda: 4)
    code, told = main("hydra/launcher=processes", "hydra.launcher.jobs=2", "model=net", "seed=range(6)", *SHORT)
    assert code == 3
    assert "2 of the sweep's jobs failed" in told
    assert "job 2 (model=net seed=2" in told
    assert "SIGKILL" in told
    assert f"{net}.py" in told
    found = [run.read() for run in find_runs()]
    assert sorted(one["seed"] for one in found if one["status"] == "finished") == [0, 1, 4, 5]
    pids = {one["pid"] for one in found}
    assert os.getpid() not in pids
    assert len(pids) <= 3  # two workers, and who took the killed one's place
    (sweep,) = Path("outputs/sweeps").iterdir()
    lines = [json.loads(line) for line in (sweep / "failed.jsonl").read_text().splitlines()]
    assert next(one["place"] for one in lines if one["job"] == 3).startswith(f"{net}.py:")


@pytest.mark.slow
def test_workers_of_two_threads_each_do_not_hang(main):
    words = ("hydra/launcher=processes", "hydra.launcher.jobs=2", "trainer.threads=2", "seed=1,2,3", "model=mlp")
    code, told = main(*words, *SHORT)
    assert code == 0, told
    assert [run.read()["threads"] for run in find_runs()] == [2, 2, 2]


@pytest.mark.parametrize("jobs", ["0", "many"])
def test_a_wrong_number_of_jobs(main, jobs):
    code, told = main("hydra/launcher=processes", f"hydra.launcher.jobs={jobs}", "seed=1,2")
    assert code == 2
    assert "type hydra.launcher.jobs=2" in told
    assert not list(Path().rglob("run.json"))


@pytest.mark.parametrize(("word", "remedy"), [("most=0", "most=64"), ("compile=maybe", "compile=auto")])
def test_a_wrong_setting_of_stacks(main, word, remedy):
    code, told = main("hydra/launcher=vectorized", f"hydra.launcher.{word}", "seed=1,2")
    assert code == 2
    assert f"hydra.launcher.{word} was given" in told
    assert f"type hydra.launcher.{remedy}" in told
    assert not list(Path().rglob("run.json"))


def test_a_cluster_that_is_not_there(main, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setenv("PATH", "")
    code, told = main("hydra/launcher=submitit_slurm", "seed=1,2")
    assert code == 2
    assert "type hydra/launcher=submitit_local" in told
    assert not Path("outputs").exists()


@pytest.mark.parametrize("words", [["--trials", "3"], ["--jobs=2"], ["--prune"]])
def test_options_of_a_sweep_are_no_options_of_a_multirun(main, words):
    code, told = main("seed=1,2", *words)
    assert code == 2
    assert f"type dlx sweep NAME … {words[0].partition('=')[0]} …" in told


PLUGINS = {"joblib": "hydra.launcher.n_jobs=2", "submitit_local": "hydra.launcher.timeout_min=5"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_hydras_own_plugins(main, net, name):
    package = f"hydra_{name.partition('_')[0]}_launcher"
    if importlib.util.find_spec(f"hydra_plugins.{package}") is None:
        pytest.skip(f"{package} is not installed")
    search = ("hydra/sweeper=dlx_optuna", "hydra.sweep.dir=outputs/sweeps/h", "hydra.sweeper.sampler=grid")
    code, told = main(f"hydra/launcher={name}", PLUGINS[name], *search, "model=net", "seed=1,3,4", *SHORT)
    assert code == 3, told
    assert "1 of 3 trials failed" in told
    assert "ValueError: three is odd" in told
    assert f"{net}.py" in told
    found = {run.read()["seed"]: run.read()["status"] for run in find_runs()}
    assert found == {1: "finished", 3: "failed", 4: "finished"}


def test_what_is_not_installed_is_said_in_one_line(main, monkeypatch):
    if importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None:
        code, told = main("hydra/launcher=ray", "seed=1,2")
        assert code == 2
        assert "pip install hydra-ray-launcher" in told
    code, told = main("optimizer.lr=interval(1e-4,1e-1)")
    assert code == 2
    assert "type dlx sweep NAME 'optimizer.lr=interval(1e-4,1e-1)'" in told


def test_launchers_and_sweepers_are_listed(capsys):
    from dlx.cli.main import run

    assert run(["list", "launchers"]) == 0
    told = capsys.readouterr().out
    assert all(f" {name} " in told for name in ("processes", "basic", "joblib", "submitit_slurm", "ray"))
    assert run(["list", "sweepers"]) == 0
    assert "dlx_optuna" in capsys.readouterr().out
