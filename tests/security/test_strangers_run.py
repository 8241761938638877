"""A stranger's run directory: targets × positions × verbs. Nothing runs, nothing is written elsewhere, no raw error."""

import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.security.sandbox import make_stranger, run_verb

OUTSIDE = "OUTSIDE"  # replaced by a path outside what may be written
TARGETS = [
    {"_target_": "os.system", "command": "touch pwned"},
    {"_target_": "builtins.exec", "_args_": ["open('pwned', 'w')"]},
    {"_target_": "subprocess.Popen", "args": ["touch", "pwned"]},
    {"_target_": "evil.Thing"},
    {"_target_": "json.Thing"},
    {"_target_": "hydra_plugins.evil.Thing"},
    {"_target_": "torch.hub.load", "repo_or_dir": "a/b", "model": "c"},
    {"_target_": "dlx.run.os.system", "command": "touch pwned"},
    {"_target_": "dlx.loggers.run_logger.RunLogger", "directory": OUTSIDE},
    {"_target_": "dlx.loggers.jsonl.MetricsFile", "path": OUTSIDE},
    {"_target_": "dlx.runs.rundir.Run.create", "directory": OUTSIDE, "about": {}},
    {"_target_": "sklearn.utils._testing.TempMemmap", "data": [1]},
    {"_target_": "torchvision.datasets.MNIST", "root": OUTSIDE, "download": True},
    {"_target_": "sklearn.cluster.AgglomerativeClustering", "memory": OUTSIDE},
    {"_target_": "sklearn.preprocessing.FunctionTransformer", "func": {"_target_": "evil.Thing"}},
    {"_target_": "joblib.memory.Memory", "location": OUTSIDE},
    {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": "${oc.env:HOME}"},
    {"_target_": "torch.nn.Identity", "_args_": [{"_target_": "os.system"}]},
    {"_target_": 5},
    {"_target_": ["os", "system"]},
    {"_target_": "dlx..evil\x1b[31m"},
    {"_target_": ""},
]
POSITIONS = [
    *(("dataset",), ("model",), ("task",), ("procedure",), ("optimizer",), ("scheduler",), ("trainer",)),
    *(("callbacks", "x"), ("logger", "x"), ("model", "hidden"), ("dataset", "x"), ("procedure", "x")),
    *(("model", "x", "y"), ("stranger",)),
]
VERBS = {
    "evaluate": ["evaluate", "RUN", "--json"],
    "predict": ["predict", "RUN", "x.npy", "-o", "out.csv"],
    "resume": ["resume", "RUN", "trainer.epochs=3"],
    "sample": ["sample", "RUN", "-n", "2", "-o", "s.npz"],
    "visualize": ["visualize", "RUN", "-o", "v"],
    "export": ["export", "RUN", "-o", "m.pt2"],
    "runs": ["runs", "--where", "model.hidden=[32]"],
    "compare": ["compare", "RUN"],
    "info": ["info", "model=evil"],
    "tensorboard": ["tensorboard", "RUN", "--port", "6006"],
}


@pytest.fixture
def stranger(digits, tmp_path, monkeypatch):
    """A stranger's run, in which one stands, and which may be written; it is not trusted."""

    def execute(program, args):
        assert args[1] == "-P", "the working directory is on the module path"
        sys.exit(0)

    monkeypatch.setattr(os, "execv", execute)
    place = make_stranger(digits, tmp_path / "inside" / "stranger")
    np.save(place / "x.npy", np.zeros((2, 8, 8), np.float32))
    return place


def _put(config, position, node):
    for key in position[:-1]:
        inner = config.get(key)
        config[key] = inner = inner if isinstance(inner, dict) else {}
        config = inner
    config[position[-1]] = node


def _try(stranger, tmp_path, original, target, position, verb):
    config = yaml.safe_load(original)
    node = json.loads(json.dumps(target).replace(OUTSIDE, str(tmp_path / "outside")))
    _put(config, position, node)
    (stranger / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["." if word == "RUN" else word for word in VERBS[verb]]
    outcome, bad = run_verb(words, stranger, stranger)
    assert not bad, f"{verb}, {target} at {'.'.join(position)}: {bad}"
    assert not (tmp_path / "outside").exists()
    if verb == "resume":
        assert outcome.startswith("UsageError"), (target, position, outcome)


def test_targets_at_every_position(stranger, tmp_path, capsys):
    """Each target at each position, the verbs in turn; the whole table is below."""
    original = (stranger / "config.yaml").read_text()
    verbs = itertools.cycle(VERBS)
    for target, position in itertools.product(TARGETS, POSITIONS):
        _try(stranger, tmp_path, original, target, position, next(verbs))


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_the_whole_table(verb, stranger, tmp_path, capsys):
    original = (stranger / "config.yaml").read_text()
    for target, position in itertools.product(TARGETS, POSITIONS):
        _try(stranger, tmp_path, original, target, position, verb)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghijkl")
)
CONFIGS = {
    "aliases": lambda text: text + "published:\n" + "".join(f"  {line}\n" for line in BOMB.splitlines()),
    "depth": lambda text: text + "published: " + "[" * 5000 + "]" * 5000,
    "cycle": lambda text: text + "published: &a [*a]",
    "resolver": lambda text: text.replace("seed: 0", "seed: ${oc.env:SECRET}"),
    "secret": lambda text: text + "secret: ${oc.env:SECRET}",
    "foreign root key": lambda text: text + "hydra: {callbacks: {x: {_target_: evil.Thing}}}",
    "python tag": lambda text: text + "published: !!python/object/apply:os.system ['touch pwned']",
    "binary": lambda text: "\0\1\2\xff",
    "a list": lambda text: "[1, 2]",
    "empty": lambda text: "",
    "large": lambda text: text + "#" * 2**21,
    "no trainer": lambda text: text.replace("trainer:", "trainer: 5\nx:"),
    "batch": lambda text: text.replace("trainer:", "trainer:\n  batch: [a]", 1),
    "seed": lambda text: text.replace("seed: 0", "seed: {a: b}"),
    "big seed": lambda text: text.replace("seed: 0", "seed: 1" + "0" * 40),
    "escapes": lambda text: text.replace("_target_: dlx.models", '_target_: "\\e]0;owned\\a"\n  x: dlx.models'),
    "download": lambda text: text.replace(
        "dlx.datasets.images.digits.Digits", "dlx.datasets.images.mnist.Mnist\n  download: true\n  root: /nowhere"
    ),
    "pretrained": lambda text: text.replace("pretrained: null", "pretrained: /dev/zero"),
}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("info", "tensorboard")])
def test_configurations(verb, stranger, monkeypatch, capsys):
    monkeypatch.setenv("SECRET", "a secret")
    original = (stranger / "config.yaml").read_text()
    for name, change in CONFIGS.items():
        (stranger / "config.yaml").write_bytes(change(original).encode("utf-8", "surrogateescape"))
        words = ["." if word == "RUN" else word for word in VERBS[verb]]
        outcome, bad = run_verb(words, stranger, stranger)
        assert not bad, f"{name}: {bad}"
        printed = capsys.readouterr()
        assert "a secret" not in printed.out + printed.err + outcome
        assert "\x1b" not in printed.out
    assert not any(b"a secret" in file.read_bytes() for file in stranger.rglob("*") if file.is_file())


ABOUTS = {
    "torn": '{"id": "a',
    "a list": "[]",
    "a number": "5",
    "metrics": '{"metrics": [1]}',
    "metric text": '{"metrics": {"test/accuracy": "high"}}',
    "started": '{"started": "yesterday"}',
    "naive": '{"started": "2026-01-01T00:00:00", "status": "running", "pid": 5}',
    "id": '{"id": {"a": 1}}',
    "seconds": '{"seconds": "long"}',
    "resumed": '{"resumed": 5}',
    "directions": '{"directions": {"test/accuracy": 5}, "metrics": {"test/accuracy": 0.5}}',
    "notes": '{"notes": 5}',
    "data": '{"data": 5}',
    "versions": '{"versions": []}',
    "pid": '{"status": "running", "pid": 99999999999999999999999}',
    "cwd": '{"cwd": "/dev/null\\u0000"}',
    "depth": "[" * 100_000,
    "escapes": json.dumps({"model": "\x1b]0;owned\x07\x9b31m", "id": "\x1b[2J"}),
    "git": '{"git": 5, "versions": {"torch": {"a": 1}}}',
    "batch": '{"global_batch": "a", "experiment": "../../../etc"}',
}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "info"])
def test_run_json(verb, stranger, capsys):
    original = json.loads((stranger / "run.json").read_text())
    for name, text in ABOUTS.items():
        mixed = json.dumps({**original, **json.loads(text)}) if text.startswith("{") and text.endswith("}") else text
        (stranger / "run.json").write_text(mixed)
        words = ["." if word == "RUN" else word for word in VERBS[verb]]
        words += ["--root", ".."] if verb == "runs" else []
        _, bad = run_verb(words, stranger, stranger)
        assert not bad, f"{name}: {bad}"
        printed = capsys.readouterr()
        assert not {"\x1b", "\x07", "\x9b"} & set(printed.out), name


def test_one_torn_run_json_breaks_nothing_else(mine, capsys, monkeypatch):
    from dlx.runs.rundir import find_run

    shutil.copytree(mine.directory, "outputs/good")
    shutil.copytree(mine.directory, "outputs/torn")
    Path("outputs/torn/run.json").write_text('{"id": ')
    assert find_run("last").directory == Path("outputs/good")
    assert str(Path("outputs/torn/run.json")) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", "checkpoints/last.pt", "figures/x.png", "run.new"])
def test_nothing_is_written_through_a_link(name, stranger, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes((stranger / name).read_bytes() if (stranger / name).is_file() else b"precious")
    before = victim.read_bytes()
    (stranger / name).unlink(missing_ok=True)
    (stranger / name).parent.mkdir(exist_ok=True)
    (stranger / name).symlink_to(victim)
    outcome, bad = run_verb(["resume", ".", "trainer.epochs=3"], stranger, stranger)
    assert not bad
    assert "link" in outcome
    assert victim.read_bytes() == before


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "metrics.jsonl"])
def test_a_pipe_is_not_waited_for(name, stranger):
    (stranger / name).unlink()
    os.mkfifo(stranger / name)
    for words in (["evaluate", "."], ["runs", "--root", "."], ["resume", ".", "trainer.epochs=3"], ["compare", "."]):
        _, bad = run_verb(words, stranger, stranger)
        assert not bad
