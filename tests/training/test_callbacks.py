"""Callbacks: when their hooks are called, how they stop a training, what a checkpoint keeps of them, and mistakes."""

import re
import sys
from pathlib import Path

import pytest
import torch

from dlx.config.callback_checks import BUILT_IN, HOOK_ALIASES, explain_bad_callback
from dlx.config.compose import compose
from dlx.config.report import ConfigError
from dlx.errors import UsageError
from dlx.training.callbacks import time_limit
from dlx.training.callbacks.callback import HOOKS, Callback, check_state, collect_hooks
from dlx.training.checkpoint import load
from tests.conftest import ROOT, same

QUICK = ("dataset.limit=320", "trainer.batch=32", "trainer.epochs=3")  # three epochs of ten steps
CALLBACKS = sorted(path.stem for path in (ROOT / "conf" / "callbacks").glob("*.yaml"))
HEAD = "import torch\nfrom dlx.training.callbacks.callback import Callback\n\n\n"
LISTENER = """
class Mine(Callback):
    def __init__(self, stop: str = "", at: int = 1) -> None:
        self.stop, self.at, self.heard = stop, at, []

    def hear(self, name, trainer):
        self.heard.append([name, trainer.epoch, trainer.step])
        if name == self.stop and sum(name == hook for hook, *_ in self.heard) == self.at:
            trainer.stop(f"{name} number {self.at}")

    def state_dict(self):
        return {"heard": self.heard}

    def load_state_dict(self, state):
        self.heard = state["heard"]
"""
for _name in HOOKS:
    LISTENER += f'\n    def {_name}(self, trainer, *values):\n        self.hear("{_name}", trainer)\n'
AVERAGE = """
class Mine(Callback):
    def __init__(self, decay: float = 0.9) -> None:
        self.decay, self.average, self.epochs = decay, {}, []

    def on_step_end(self, trainer, values):
        for name, value in trainer.model.state_dict().items():
            self.average[name] = self.decay * self.average.get(name, 0.0) + (1 - self.decay) * value
        with torch.no_grad():  # it takes part in what is learned, with random numbers of the run
            next(trainer.model.parameters()).mul_(1 + 1e-4 * torch.randn(()))

    def on_epoch_start(self, trainer):
        self.epochs.append(trainer.epoch)

    def on_validation_end(self, trainer, metrics):
        trainer.logger.scalars("val", {"heard": metrics["val/accuracy"]}, trainer.step)

    def state_dict(self):
        return {"average": self.average, "epochs": self.epochs}

    def load_state_dict(self, state):
        self.average, self.epochs = state["average"], state["epochs"]
"""


@pytest.fixture
def write_callback(tmp_path, monkeypatch):
    """Write a user's callback `mine`; returns the module's name."""
    name = f"callback_of_{tmp_path.name.replace('-', '_')}"
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(code, yaml="mine:\n  _target_: {name}.Mine\n"):
        Path(f"{name}.py").write_text(HEAD + code)
        Path("conf/callbacks").mkdir(parents=True, exist_ok=True)
        Path("conf/callbacks/mine.yaml").write_text("# mine\n" + yaml.format(name=name))
        return name

    yield write
    sys.modules.pop(name, None)


def get_heard(run):
    return load(run.checkpoints / "last.pt")["trainer"]["callbacks"]["mine"]["heard"]


def test_hooks_are_called_in_their_order(train, write_callback):
    write_callback(LISTENER)
    heard = get_heard(train("a", "callbacks=mine", *QUICK, "trainer.epochs=2", "trainer.validate_every=2"))
    expected = [["on_fit_start", 0, 0]]
    for epoch in (0, 1):
        expected.append(["on_epoch_start", epoch, 10 * epoch])
        expected += [["on_step_end", epoch, 10 * epoch + step] for step in range(1, 11)]
        if epoch == 1:
            expected += [["on_validation_start", 2, 20], ["on_validation_end", 2, 20]]
        expected.append(["on_epoch_end", epoch + 1, 10 * epoch + 10])
    assert heard == expected, "on_fit_end follows the last checkpoint"


@pytest.mark.parametrize(
    ("hook", "at", "epoch", "step"),
    [
        ("on_fit_start", 1, 0, 0),
        ("on_epoch_start", 2, 1, 10),
        ("on_step_end", 7, 0, 7),
        ("on_step_end", 20, 2, 20),
        ("on_validation_start", 2, 2, 20),
        ("on_validation_end", 1, 1, 10),
        ("on_epoch_end", 2, 2, 20),
    ],
)
def test_any_hook_may_stop(train, write_callback, hook, at, epoch, step):
    write_callback(LISTENER)
    run = train("a", "callbacks=mine", f"callbacks.mine.stop={hook}", f"callbacks.mine.at={at}", *QUICK)
    about = run.read()
    assert (about["status"], about["epoch"], about["step"]) == ("finished", epoch, step)
    assert about["stopped"] == f"{hook} number {at}"
    assert about["callbacks"] == "mine"


def test_a_stop_is_forgotten_by_a_resumed_run(train, resume, write_callback):
    write_callback(LISTENER)
    run = train("a", "callbacks=mine", "callbacks.mine.stop=on_step_end", "callbacks.mine.at=7", *QUICK)
    resume(run)
    assert run.read()["step"] == 30
    assert run.read()["stopped"] is None
    steps = [step for name, _, step in get_heard(run) if name == "on_step_end"]
    assert steps == list(range(1, 31))
    assert [epoch for name, epoch, _ in get_heard(run) if name == "on_epoch_start"] == [0, 1, 2]


@pytest.mark.parametrize("step", [7, 10, 15])
def test_resumed_equals_uninterrupted(train, resume, write_callback, step):
    write_callback(AVERAGE)
    words = ("callbacks=mine", "model.dropout=0.1", *QUICK)
    straight = train("a", *words)
    stopped = train("b", *words, f"trainer.max_steps={step}")
    resume(stopped, trainer__max_steps=None)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    for part in ("model", "procedure", "random"):
        assert same(one[part], two[part])
    assert same(one["trainer"], two["trainer"])
    assert len(one["trainer"]["callbacks"]["mine"]["average"]) == len(one["model"])
    plain = load(train("c", *words[1:]).checkpoints / "last.pt")
    assert not same(one["model"], plain["model"])


def test_what_is_not_overridden_is_not_called():
    class OneHook(Callback):
        def on_epoch_end(self, trainer):
            pass

    hooks = collect_hooks([Callback(), OneHook()])
    assert {name: len(found) for name, found in hooks.items()} == {name: int(name == "on_epoch_end") for name in HOOKS}


def test_built_in_callbacks_leave_the_step_alone(train):
    from omegaconf import OmegaConf

    from dlx.parts import add_callbacks, assemble

    run = train("a", "trainer.patience=3", "trainer.pictures_every=1", *QUICK, "trainer.epochs=1")
    trainer = add_callbacks(assemble(OmegaConf.load(run.directory / "config.yaml"))).trainer
    assert collect_hooks(trainer.built_in)["on_step_end"] == ()
    assert set(load(run.checkpoints / "last.pt")["trainer"]) >= {"best", "best_epoch", "mark", "waited"}


@pytest.mark.parametrize("name", CALLBACKS)
def test_each_callback_that_can_be_added(train, name, capsys):
    from dlx.config.catalogue import Catalogue
    from dlx.config.search import find_search_path
    from dlx.trained.dry_run import dry_run

    entry = Catalogue(find_search_path()).entry("callbacks", name)
    assert entry.description
    assert list(entry.node) == [name]
    assert explain_bad_callback(entry.target) is None
    dry_run(compose([f"callbacks={name}"]))
    run = train("a", f"callbacks=[{name}]", *QUICK, "trainer.epochs=1")
    assert run.read()["callbacks"] == name
    assert name in load(run.checkpoints / "last.pt")["trainer"]["callbacks"]


class Clock:
    """A second passes at each look."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now


def test_time_limit_counts_over_resumptions(train, resume, monkeypatch):
    monkeypatch.setattr(time_limit, "time", Clock())
    run = train("a", "callbacks=time_limit", "callbacks.time_limit.minutes=0.1", *QUICK)
    about = run.read()
    assert (about["step"], about["status"]) == (5, "finished")  # one second at the start, one at each step
    assert "0.1 minutes" in about["stopped"]
    seconds = load(run.checkpoints / "last.pt")["trainer"]["callbacks"]["time_limit"]["seconds"]
    assert seconds >= 6
    resume(run)
    assert run.read()["step"] == 5, "nothing is left of it"
    resume(run, callbacks__time_limit__minutes=0.3)
    assert 5 < run.read()["step"] < 18


def test_resume_says_what_to_change(train):
    from tests.verbs import dlx

    run = train("a", "callbacks=time_limit", "callbacks.time_limit.minutes=1e-6", *QUICK)
    told = dlx("resume", run.directory)
    assert "nothing left to do" in told
    (more,) = re.findall(r"callbacks\.time_limit\.minutes=\S+", told)
    before = run.read()["step"]
    dlx("resume", run.directory, more)
    assert run.read()["step"] > before
    dlx("resume", run.directory, "callbacks.time_limit.minutes=60")
    assert run.read()["step"] == 30


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["callbacks=early_stopping"], r"type trainer\.patience=10"),
        (["callbacks=[time_limit,EarlyStopping]"], r"type trainer\.patience=10"),
        (["callbacks=model_checkpoint"], r"always saved.*leave it out"),
        (["callbacks=time_limi"], "type callbacks=time_limit"),
        (["callbacks=null"], r"type callbacks=\[\]"),
        (["callbacks=nothing_like_it"], "type dlx list callbacks$"),
        (["callback=time_limit"], "type callbacks=time_limit"),
        (["callbacks.time_limit.minutes=3"], "type callbacks=time_limit too"),
        (["callbacks=time_limit", "callbacks.time_limit.minuts=3"], r"type callbacks\.time_limit\.minutes=3"),
        (["callbacks=time_limit", "callbacks.time_limit.minutes=0"], "more than 0"),
        (["callbacks=time_limit", "callbacks.time_limit=3"], "a mapping with a _target_"),
        (["callbacks=time_limit", "callbacks.time_limit._target_=os.system"], r"allow=\[os\]"),
    ],
)
def test_mistakes_are_answered(words, message):
    with pytest.raises(ConfigError) as told:
        compose(words)
    assert re.search(message, str(told.value), re.MULTILINE), told.value


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_advice_for_what_is_built_in_works(name):
    with pytest.raises(ConfigError) as told:
        compose([f"callbacks={name}"])
    (problem,) = told.value.problems
    if problem.remedy != "leave it out":
        compose([problem.remedy.removeprefix("type ")])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Mine(Callback):\n    def on_epoch_ends(self, trainer): ...\n", "did you mean on_epoch_end"),
        *(
            (f"class Mine(Callback):\n    def {name}(self, trainer): ...\n", f"did you mean {ours}")
            for name, ours in HOOK_ALIASES.items()
        ),
        ("class Mine(Callback):\n    def on_step_end(self, trainer): ...\n", "needed: self, trainer, values"),
        ("class Mine(Callback):\n    def on_epoch_end(self, epoch, logs): ...\n", "needed: self, trainer$"),
        ("class Mine:\n    pass\n", "is not a callback"),
        ("class Mine(Callback):\n    def __init__(self, at: int): ...\n", r"type callbacks\.mine\.at=…"),
    ],
)
def test_a_class_that_would_not_be_called(write_callback, code, message):
    write_callback(code)
    with pytest.raises(ConfigError) as told:
        compose(["callbacks=mine"])
    assert re.search(message, str(told.value), re.MULTILINE), told.value


def test_a_file_without_a_name_of_its_own(write_callback):
    write_callback("class Mine(Callback): ...\n", "_target_: {name}.Mine\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:2: .*write mine: in its file"):
        compose(["callbacks=mine"])


@pytest.mark.parametrize(
    "state", ["{'seen': {1, 2}}", "{'now': __import__('datetime').date(2020, 1, 1)}", "[object()]"]
)
def test_a_state_that_no_checkpoint_keeps(train, tmp_path, write_callback, state):
    write_callback(f"class Mine(Callback):\n    def state_dict(self):\n        return {state}\n")
    with pytest.raises(UsageError, match=r"the state of callbacks\.mine.*needed from state_dict"):
        train("a", "callbacks=mine", *QUICK)
    assert not (tmp_path / "a").exists()


def test_states_that_are_kept():
    check_state("a", {"a": [1, 2.5, None, "b", True, (torch.zeros(2), {"c": b"d"})]})


def test_a_strangers_callback_is_not_run(train, write_callback):
    from tests.verbs import dlx

    name = write_callback(LISTENER)
    run = train("a", "callbacks=mine", *QUICK, "trainer.max_steps=3")
    Path("conf/callbacks/mine.yaml").unlink()  # now nothing of the user's own names it
    with pytest.raises(UsageError, match=re.escape(f"allow=[{name}]")):
        dlx("resume", run.directory, "trainer.max_steps=5")
    dlx("evaluate", run.directory)  # a trained model needs no callbacks
    dlx("resume", run.directory, "trainer.max_steps=5", f"allow=[{name}]")
    assert run.read()["step"] == 5


# -- sweeps ------------------------------------------------------------------------------------------------------------


def test_callbacks_can_be_swept(capsys):
    from dlx.cli.application import run

    words = ["trainer.device=cpu", "trainer.epochs=1", "dataset.limit=320", "hydra.sweep.dir=sweep"]
    assert run(["-m", "callbacks=[],time_limit,[time_limit]", *words]) == 0
    from dlx.runs.rundir import Run

    found = sorted(Path("sweep").glob("*/run.json"))
    assert [Run(path.parent).read().get("callbacks") for path in found] == [None, "time_limit", "time_limit"]


def test_trials_with_callbacks_are_not_stacked():
    from omegaconf import OmegaConf

    from dlx.vectorized.groups import explain_unfit

    def explain(*words):
        return explain_unfit(OmegaConf.to_container(compose([*words]), resolve=True))

    assert explain() is None
    assert "callbacks=time_limit" in explain("callbacks=time_limit")
