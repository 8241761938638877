"""`dlx sweep`: what is searched, that it goes on and never beyond, failing and pruned trials."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlx.config.compose import compose
from dlx.errors import UsageError
from dlx.runs.rundir import find_runs
from dlx.sweeps.objective import choose_metric, get_final_value
from dlx.sweeps.space import Choices, Numbers, expand_log, parse_space

pytestmark = pytest.mark.integration

QUIET = ("trainer.device=cpu", "logger=[]")
TINY = ("dataset=iris", "model.hidden=[4]", "trainer.epochs=2", *QUIET)


@pytest.fixture
def sweep(capsys):
    """`dlx sweep WORDS` in this process: exit code, standard output, standard error."""

    def run(*words):
        from dlx.cli.main import main

        with pytest.raises(SystemExit) as stop:
            main(["sweep", *map(str, words)])
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return run


def process(*words, **more):
    """`dlx WORDS` in a process of its own, not waited for."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dlx", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment, **more,
    )  # fmt: skip


def about(name):
    """Every run of a sweep by its trial's number."""
    found = {int(run.directory.name.partition("-")[0]): run.read() for run in find_runs(Path("outputs/sweeps") / name)}
    return dict(sorted(found.items()))


def trials(name):
    """Optuna's own view of a sweep, without dlx."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    file = str(Path("outputs/sweeps", name, "journal.log").absolute())
    storage = optuna.storages.JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
    return optuna.load_study(study_name="sweep", storage=storage).trials


# ---- the space


def test_hydras_grammar_is_a_space():
    words = "a=log(1e-4,1e-1) b=int(log(1,64)) c=interval(0,1) d=range(1,8,3) e=x,y f=[1],[2,3] g=shuffle(1,2)"
    more = "h=range(0.5,2,0.5) i=7 seed=range(3) j=tag(log,int(interval(2,9)))"
    found = parse_space([expand_log(word) for word in f"{words} {more}".split()])
    by = {one.name: one for one in found.dimensions}
    assert by["a"] == Numbers("a", "a", 1e-4, 1e-1, None, True)
    assert by["b"] == Numbers("b", "b", 1, 64, None, True)
    assert by["c"] == Numbers("c", "c", 0.0, 1.0)
    assert by["d"].values == (1, 4, 7)
    assert by["e"] == Choices("e", "e", ("x", "y"))
    assert by["f"].values == ("[1]", "[2,3]")
    assert sorted(by["g"].values) == ["1", "2"]
    assert by["h"].values == (0.5, 1.0, 1.5)
    assert by["j"].is_integer
    assert found.fixed == ("i=7",)
    assert found.seeds == ("0", "1", "2")
    assert found.n_points is None
    assert expand_log("note='log(1,2)'") == "note='log(1,2)'"


def test_points_are_hydras_product():
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words = ["a=1,2", "b=x", "c=range(3)", "d=[1],[2]"]
    found = parse_space(words)
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    assert found.n_points == len(batch) == 12
    ours = [found.make_overrides(found.get_point(index)) for index in range(12)]
    assert sorted(map(sorted, ours)) == sorted(map(sorted, batch))


def test_what_is_optimised():
    mlp = compose([])
    assert choose_metric(mlp, None) == ("val/accuracy", "max")
    assert choose_metric(mlp, "test/error") == ("test/error", "min")
    assert choose_metric(mlp, "val/top5_accuracy") == ("val/top5_accuracy", "max")
    assert choose_metric(compose(["model=rbm"]), "val/pseudo_log_likelihood") == ("val/pseudo_log_likelihood", "max")
    with pytest.raises(UsageError, match="type --metric val/NAME"):
        choose_metric(compose(["model=gan", "dataset=ring"]), None)
    assert get_final_value({"val/best_accuracy": 0.9, "val/accuracy": 0.8}, "val/accuracy") == 0.9
    assert get_final_value({"val/loss": 0.3}, "val/loss") == 0.3
    assert math.isnan(get_final_value({"val/best_x": 0.9}, "val/accuracy"))
    assert get_final_value({"val/best_x": 0.9}, "val/accuracy", own=True) == 0.9


LR = "optimizer.lr=log(1e-3,1e-1)"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Missing argument 'NAME'"),
        (["b"], "no space was given"),
        (["b", "model=mlp"], "nothing varies"),
        (["../b", LR], "type dlx sweep b"),
        (["/tmp/b", LR], "type dlx sweep tmp-b"),
        ([LR], f"type dlx sweep NAME {LR}"),
        (["b", LR, "--trials", "many"], "--trials"),
        (["b", LR, "--trials", "0"], "--trials"),
        (["b", LR, "--jobs", "x"], "--jobs"),
        (["b", LR, "--sampler", "tpr"], "not one of 'tpe'"),
        (["b", LR, "--prune=mean"], "not one of 'median'"),
        (["b", LR, "--metric", "val/accuray"], "did you mean val/accuracy?"),
        (["b", LR, "--metric", "accuracy"], "type val/accuracy"),
        (["b", LR, "--sampler", "grid"], "--sampler tpe"),
        (["b", "optimizer.lrr=1,2"], "did you mean lr?"),
        (["b", "optimizer.lr=log(1,0.1)"], "two different ends; type 'optimizer.lr=log(0.1,1)'"),
        (["b", "optimizer.lr=log(0,1)"], "interval(0,1)"),
        (["b", "optimizer.lr=loguniform(1e-4,1)"], "did you mean log? type 'optimizer.lr=log(1e-4,1e-1)'"),
        (["b", "optimizer.lr=log(1e-4)"], "type 'optimizer.lr=log(1e-4,1e-1)'"),
        (["b", LR, "model=mlp,svm", "--sampler", "cmaes"], "one number, optimizer.lr"),
        (["b", "seed=interval(0,3)"], "type seed=int(interval(0,3))"),
        (["b", "seed=int(interval(0,3))"], "type seed=1,2,3"),
        (["b", "trainer.batch=log(16,256)"], "type trainer.batch=int(log(16,256))"),
        (["b", LR, "--jobs", "2", "hydra/launcher=joblib"], "needed: one of them"),
        (["b", LR, "--prune", "hydra/launcher=vectorized"], "leave out --prune"),
        (["b", LR, "optimizer.lr=0.1"], f"{LR} and optimizer.lr=0.1 were given; needed: one of them"),
        (["b", "model=mlp,mpl"], "did you mean mlp?"),
        (["b", LR, "hydra.sweeper.trials=x"], "type hydra.sweeper.trials=20"),
        (["b", LR, "hydra.sweeper.sampler=tpr"], "did you mean tpe?"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(sweep, words, told):
    code, out, err = sweep(*words)
    assert code == 2
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    assert os.listdir() == []


def test_bad_input_is_told_before_torch():
    code = """
import sys
from dlx.cli.main import main
for words in ("", "b", "b model=mlp", "b optimizer.lr=1,2 --metric val/x", "b optimizer.lrr=1,2", "b a --sampler x"):
    try:
        main(["sweep", *words.split()])
    except SystemExit as stop:
        assert stop.code == 2, words
print([name for name in ("torch", "numpy", "sklearn", "matplotlib", "optuna") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_without_optuna_one_line_says_what_to_install(sweep, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "optuna" else find(name, *more)
    )
    code, _, err = sweep("b", LR)
    assert code == 2
    assert "pip install optuna cmaes" in err
    assert os.listdir() == []


# ---- sweeps


@pytest.mark.slow
def test_the_same_again_goes_on_and_never_beyond(sweep, train):
    words = ("s", LR, "model.hidden=[4],[8]", *TINY[:1], *TINY[2:])
    code, out, err = sweep(*words, "--trials", "2")
    assert (code, err) == (0, "")
    assert "2 trials: 2 finished" in out
    code, out, _ = sweep(*words, "--trials", "3")
    assert code == 0
    first = about("s")
    assert list(first) == [0, 1, 2]
    for again in ((), ("--trials", "1"), words[1:]):
        code, out, _ = sweep("s", *again)
        assert code == 0
        assert "3 trials: 3 finished" in out
        assert about("s") == first
    # the same settings by dlx train come to the same
    lone = train("lone", *first[2]["overrides"]).read()
    assert lone["metrics"] == pytest.approx(first[2]["metrics"], rel=0)
    best = max(first.values(), key=lambda one: one["metrics"]["val/best_accuracy"])
    assert f"{best['metrics']['val/best_accuracy']:.5g}" in out
    assert best["id"] in next(line for line in out.splitlines() if line.startswith("best"))
    # another space is another sweep
    code, _, err = sweep("s", "optimizer.lr=log(1e-2,1e-1)", *words[2:], "optimizer.eps=1e-7")
    assert code == 2
    assert "optimizer.lr: log(1e-3,1e-1) → log(1e-2,1e-1)" in err
    assert "optimizer.eps: not given → 1e-7" in err
    assert "hidden" not in err
    code, _, err = sweep("s", "--sampler", "random", "--metric", "val/loss")
    assert code == 2
    assert "--sampler: tpe → random" in err
    assert "--metric: val/accuracy → val/loss" in err
    assert about("s") == first


@pytest.mark.slow
def test_multirun_with_the_sweeper_is_the_same(sweep, capsys):
    from dlx.cli.main import main

    sweep("a", LR, *TINY, "--trials", "3", "--seed", "5")
    chosen = ["hydra/sweeper=dlx_optuna", "hydra.sweep.dir=outputs/sweeps/b", "hydra.sweeper.trials=3"]
    with pytest.raises(SystemExit):
        main(["-m", LR, *TINY, *chosen, "hydra.sweeper.seed=5"])
    one, other = ([run["metrics"] for run in about(name).values()] for name in "ab")
    assert len(one) == 3
    assert [metrics["val/loss"] for metrics in one] == [metrics["val/loss"] for metrics in other]


@pytest.mark.slow
def test_a_sweep_in_pieces_is_the_sweep_at_once(sweep):
    for count in (1, 2, 4):
        sweep("a", LR, *TINY, "--trials", count, "--sampler", "random")
    sweep("b", LR, *TINY, "--trials", 4, "--sampler", "random")
    assert [one["overrides"] for one in about("a").values()] == [one["overrides"] for one in about("b").values()]


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_every_point_with_every_seed_once(sweep, sampler):
    code, out, _ = sweep("g", "optimizer.lr=0.01,0.1", "seed=1,2", *TINY, "--sampler", sampler, "--trials", 9)
    assert code == 0
    found = [tuple(one["overrides"][-2:]) for one in about("g").values()]
    assert sorted(found) == [(f"optimizer.lr={lr}", f"seed={seed}") for lr in (0.01, 0.1) for seed in (1, 2)]
    assert [one["seed"] for one in about("g").values()] == [1, 2, 1, 2]
    assert "±" in out


@pytest.mark.slow
def test_cmaes(sweep):
    assert sweep("c", LR, "optimizer.eps=log(1e-9,1e-7)", *TINY, "--trials", 4, "--sampler", "cmaes")[0] == 0
    assert len(about("c")) == 4


MODEL = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, shape, outputs, width=4):
        super().__init__(nn.Flatten(), nn.Linear(4, outputs))
        self.width = width

    def forward(self, x):
        if self.width == 2:
            return self.spoil(x)
        return super().forward(x) * (float("nan") if self.width == 3 else 1)

    def spoil(self, x):
        raise ValueError("two is odd")
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A user's network that fails where its width is 2 and gives NaN where it is 3."""
    name = f"net_{tmp_path.name.replace('-', '_')}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path(f"{name}.py").write_text(MODEL)
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/net.yaml").write_text(
        f"# @package _global_\nmodel:\n  _target_: {name}.Net\n"
        "  shape: ${dataset.shape}\n  outputs: ${dataset.outputs}\n  width: 1\n"
    )
    yield name
    sys.modules.pop(name, None)


def test_failures_are_named_with_the_users_own_line_and_the_rest_goes_on(sweep, net):
    words = ("f", "model=net", "model.width=1,2,3,4", TINY[0], *TINY[2:], "--sampler", "grid")
    code, out, err = sweep(*words)
    assert code == 3
    assert "0 of 4 trials begun before" in out
    assert "4 trials, the whole space: 2 finished, 2 failed" in out
    assert "2 of 4 trials failed" in err
    line = MODEL.splitlines().index('        raise ValueError("two is odd")') + 1
    assert f"trial 1 (model.width=2): ValueError: two is odd\n      {net}.py:{line} (spoil)" in err
    assert "trial 2 (model.width=3): the training loss is not finite" in err
    assert [one.state.name for one in trials("f")] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    again = sweep("f")
    assert again[0] == 3
    assert "2 of 4 trials failed" in again[2]
    assert len(trials("f")) == 4


@pytest.mark.slow
def test_pruning_ends_what_falls_behind(sweep):
    words = ("p", "optimizer.lr=0.05,1e-9", "seed=1,2,3,4,5", "dataset=iris", "trainer.epochs=6", *QUIET, "--prune")
    code, out, _ = sweep(*words, "--sampler", "grid", "--trials", 8)
    assert code == 0
    found = about("p")
    assert "5 finished, 3 pruned" in out
    assert [one["status"] for one in found.values()] == ["finished"] * 5 + ["pruned"] * 3
    assert all("test/accuracy" in one["metrics"] for one in found.values())  # an ordinary end, only early
    assert all(found[number]["epoch"] < 6 for number in (5, 6, 7))
    (file,) = Path("outputs/sweeps/p").glob("0-*/metrics.jsonl")
    curve = [json.loads(line) for line in file.read_text().splitlines()]
    accuracy = {one["epoch"]: one["val/accuracy"] for one in curve if "val/accuracy" in one}
    assert trials("p")[0].intermediate_values == pytest.approx(accuracy)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_the_other_pruners(sweep, pruner):
    words = ("o", "optimizer.lr=0.05,1e-9", "seed=1,2", *TINY[:2], "trainer.epochs=4", *QUIET)
    code, out, _ = sweep(*words, "--sampler", "grid", "--prune", pruner)
    assert code == 0
    found = about("o")
    assert len(found) == 4
    assert {one["status"] for one in found.values()} <= {"finished", "pruned"}
    assert found[0]["status"] == "finished"
    assert out.count(" pruned · ") == sum(one["status"] == "pruned" for one in found.values())


def test_a_run_that_came_to_its_end_is_not_pruned(sweep):
    words = ("o", "optimizer.lr=0.05,1e-9", *TINY[:2], "trainer.epochs=1", *QUIET, "--sampler", "grid")
    assert sweep(*words, "--prune", "asha")[0] == 0
    assert [one["status"] for one in about("o").values()] == ["finished"] * 2


def test_a_metric_that_no_run_has_ends_the_sweep(sweep):
    code, out, err = sweep("m", LR, *TINY[:2], "trainer.epochs=1", *QUIET, "--metric", "train/x:max", "--trials", 9)
    assert code == 3
    assert "3 trials: 3 failed" in out
    assert "it has no train/x; it has train/loss" in err
    assert err.count("it has no train/x") == 1
    assert "): as trial 0" in err
    assert "no run has train/x, so the sweep was ended" in err


# ---- stopped and gone on with


def test_whether_another_process_is_gone(tmp_path):
    import platform

    from dlx.sweeps.heartbeat import TIMEOUT, Heartbeat

    def another(host, pid, silent=0.0):
        file = tmp_path / "workers" / f"{host}-{pid}"
        file.write_text(json.dumps({"host": host, "pid": pid, "started": "2199-01-01T00:00:00+00:00"}))
        os.utime(file, (time.time() - silent,) * 2)
        return file.name

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with Heartbeat(tmp_path) as heartbeat:
        assert not heartbeat.is_dead(heartbeat.name)
        assert heartbeat.is_dead(None)
        assert heartbeat.is_dead("no-such-1")
        assert heartbeat.is_dead(another(platform.node(), ended.pid))
        assert not heartbeat.is_dead(another(platform.node(), os.getpid()))
        assert not heartbeat.is_dead(another("elsewhere", 1, TIMEOUT / 2))
        assert heartbeat.is_dead(another("elsewhere", 2, TIMEOUT * 2))
    assert not (tmp_path / "workers" / heartbeat.name).exists()


def wait_for(condition, seconds=300):
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


LONG = ("dataset=iris", "model.hidden=[4]", "trainer.epochs=200", "trainer.save_every=0", "trainer.device=cpu")


def under_way(name):
    """Whether a trial has saved, in the middle."""
    return any(Path("outputs/sweeps", name).glob("*/checkpoints/last.pt"))


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_checkpoint_and_counts_once(sweep, train):
    doomed = process("sweep", "k", LR, *LONG, "--trials", "1")
    wait_for(lambda: under_way("k"))
    doomed.kill()
    doomed.communicate()
    (before,) = about("k").values()
    assert before["status"] == "running"
    code, out, _ = sweep("k")
    assert code == 0
    assert "1 trial: 1 finished" in out
    (after,) = about("k").values()
    assert after["id"] == before["id"]
    assert len(after["resumed"]) == 1
    assert after["resumed"][0]["step"] > 0
    assert train("lone", *after["overrides"]).read()["metrics"]["val/loss"] == after["metrics"]["val/loss"]
    assert [one.state.name for one in trials("k")] == ["COMPLETE"]


KILLED = """
import os
import signal
from pathlib import Path

from torch import nn


class Net(nn.Sequential):
    def __init__(self, shape, outputs, seed):
        super().__init__(nn.Flatten(), nn.Linear(4, outputs))
        self.seed, self.epoch = seed, 0

    def forward(self, x):
        killed = Path(f"killed{self.seed}")
        if self.seed == 2 or (self.seed == 1 and not killed.exists() and list(Path().rglob("last.pt"))):
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)
"""


@pytest.mark.slow
def test_a_trial_whose_process_was_killed_goes_on_once(sweep, net):
    Path(f"{net}.py").write_text(KILLED)
    Path("conf/model/net.yaml").write_text(
        f"# @package _global_\nmodel:\n  _target_: {net}.Net\n"
        "  shape: ${dataset.shape}\n  outputs: ${dataset.outputs}\n  seed: ${seed}\n"
    )
    fast = ("dataset=iris", "trainer.epochs=3", "trainer.save_every=0", *QUIET)
    code, out, err = sweep("k", "model=net", "seed=1,2", *fast, "--jobs", 2)
    assert code == 3
    assert out.count("killed · it goes on once more") == 2
    assert "1 finished, 1 failed" in out
    assert "trial 1 (seed=2): the process of the job was ended by SIGKILL" in err
    assert [len(one.get("resumed", [])) for one in about("k").values() if one["status"] == "finished"] == [1]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_saves_and_the_sweep_goes_on(sweep, jobs):
    stopped = process("sweep", "i", LR, *LONG, "--trials", "2", "--jobs", jobs)
    wait_for(lambda: under_way("i"))
    stopped.send_signal(signal.SIGINT)
    told = stopped.communicate(timeout=600)[0]
    assert stopped.returncode == 130, told
    assert "type dlx sweep i to go on" in told
    assert "Traceback" not in told
    assert {one["status"] for one in about("i").values()} == {"interrupted"}
    saved = {int(one.parts[3].partition("-")[0]) for one in Path("outputs/sweeps/i").glob("*/checkpoints/last.pt")}
    assert saved
    assert sweep("i")[0] == 0
    found = about("i")
    assert [one["status"] for one in found.values()] == ["finished"] * 2
    assert all(found[number]["resumed"][0]["step"] > 0 for number in saved)  # of two at once, either may be the first


def test_a_journal_that_was_torn_is_mended_and_one_that_is_damaged_refused(sweep):
    words = ("j", LR, *TINY)
    assert sweep(*words, "--trials", 2)[0] == 0
    journal = Path("outputs/sweeps/j/journal.log")
    content = journal.read_bytes()
    journal.write_bytes(content[:-20])  # killed while the last trial was told
    code, out, _ = sweep("j", "--trials", 3)
    assert code == 0
    assert "3 trials: 3 finished" in out
    assert [one.state.name for one in trials("j")] == ["COMPLETE"] * 3
    assert len(about("j")) == 3
    for spoilt, told in ((content.replace(b"{", b"", 1), "journal.log:1 cannot be read"), (b"", "none of the sweep's")):
        journal.write_bytes(spoilt)
        code, out, err = sweep("j", "--trials", 4)
        assert code == 2
        assert told in err
        assert "dlx runs --sweep j" in err
        assert journal.read_bytes() == spoilt


@pytest.mark.slow
def test_two_processes_share_a_sweep(sweep):
    words = ("sweep", "t", "optimizer.lr=log(1e-3,1e-1)", *TINY[:2], "trainer.epochs=20", *QUIET, "--trials", "6")
    both = [process(*words), process(*words)]
    told = [one.communicate(timeout=600)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    found = about("t")
    assert list(found) == list(range(6))
    assert {one["status"] for one in found.values()} == {"finished"}
    assert len({tuple(one["overrides"]) for one in found.values()}) == 6
    assert len({one["pid"] for one in found.values()}) == 2
    assert [one.state.name for one in trials("t")] == ["COMPLETE"] * 6
