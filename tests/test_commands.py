"""Every verb but train and list, as it is typed. They run in-process, on a network trained for an instant."""

import csv
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits

from dlx.errors import UsageError
from dlx.runs.rundir import Run
from tests.conftest import MODELS

SHORT = ("trainer.epochs=2", "model.hidden=[32]", "optimizer.lr=0.01")


def dlx(verb, *words):
    """What a verb prints on standard output; errors are raised as they are."""
    from importlib import import_module

    command = import_module(f"dlx.commands.{verb}").command
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.stdout


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A run of digits that tests may look at and copy."""
    return _trained(tmp_path_factory.mktemp("runs") / "digits", *SHORT)


def _trained(directory, *overrides):
    from dlx.config.compose import compose
    from dlx.run import train_in

    config = compose(["trainer.device=cpu", "trainer.threads=1", *overrides])
    about = {"overrides": list(overrides), "model": "mlp", "dataset": "digits"}
    return train_in(directory, config, about)


@pytest.fixture
def mine(digits, tmp_path):
    """A copy of that run, to be changed."""
    import shutil

    shutil.copytree(digits.directory, tmp_path / "mine")
    return Run(tmp_path / "mine")


@pytest.fixture
def images():
    return load_digits().images[:20]


def truth(run, images):
    """Logits by the saved weights and plain numpy."""
    weights = torch.load(run.checkpoints / "best.pt", weights_only=True)["model"]
    w1, b1, w2, b2 = (v.numpy() for v in weights.values())
    hidden = np.maximum(images.reshape(len(images), -1) / 16 @ w1.T + b1, 0)
    return hidden @ w2.T + b2


# -- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_gives_what_training_measured(digits):
    measured = json.loads(dlx("evaluate", digits.directory, "--json"))
    assert measured == {k: v for k, v in digits.read()["metrics"].items() if k.startswith("test/")}


def test_evaluate_any_split_checkpoint_and_batch(digits):
    before = sorted((p, p.stat().st_mtime_ns) for p in digits.directory.rglob("*"))
    by_size = [dlx("evaluate", digits.directory, "--json", "--split", "val", f"trainer.batch={n}") for n in (3, 50)]
    assert json.loads(by_size[0]) == pytest.approx(json.loads(by_size[1]))
    dlx("evaluate", digits.directory, "--checkpoint", "last")
    after = sorted((p, p.stat().st_mtime_ns) for p in digits.directory.rglob("*"))
    assert before == after, "looking at a run leaves it as it is"


def test_evaluate_refuses_what_was_learned(digits):
    with pytest.raises(UsageError, match=r"model\.hidden: \[32\] → \[3\]") as refused:
        dlx("evaluate", digits.directory, "model.hidden=[3]")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.bacth=3", r"did you mean trainer\.batch"),
        ("trainer.batch=0", "whole number of at least 1"),
        ("dataset=mnist", "chooses anew"),
        ("trainer.device=cuda:9", "this machine has"),
        ("trainer.batch", "needed: key=value"),
        ("trainer.batch=1,2", "one value"),
    ],
)
def test_bad_overrides(digits, override, message):
    with pytest.raises(UsageError, match=message):
        dlx("evaluate", digits.directory, override)


def test_all_mistakes_at_once(digits):
    with pytest.raises(UsageError) as refused:
        dlx("evaluate", digits.directory, "trainer.bacth=3", "dataset.lmit=3")
    assert "trainer.batch" in str(refused.value)
    assert "dataset.limit" in str(refused.value)


def test_a_tampered_checkpoint_is_named(mine):
    path = mine.checkpoints / "best.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"best\.pt"):
        dlx("evaluate", mine.directory)


def test_weights_of_another_model_are_refused(mine):
    torch.save({"format": 1, "model": {"w": torch.zeros(3)}}, mine.checkpoints / "best.pt")
    with pytest.raises(UsageError, match="does not fit the model MLP"):
        dlx("evaluate", mine.directory)


# -- trust -------------------------------------------------------------------------------------------------------------


def _rewrite(run, before, after):
    path = run.directory / "config.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    "target", ["os.system", "evil.Thing", "torch.hub.load", "subprocess.Popen", "dlx.run.os.system"]
)
@pytest.mark.parametrize("allow", ["allow: []", "allow: [os, evil, subprocess, torch]"])
def test_a_strangers_code_is_refused(mine, target, allow):
    Path("evil.py").write_text("open('pwned', 'w')\nclass Thing: pass\n")
    _rewrite(mine, "_target_: dlx.models.mlp.MLP", f"_target_: {target}")
    _rewrite(mine, "allow: []", allow)
    for verb, *words in (("evaluate",), ("resume", "trainer.epochs=9"), ("sample",), ("export", "-o", "x.pt2")):
        with pytest.raises(UsageError, match="_target_"):
            dlx(verb, mine.directory, *words)
    assert not Path("pwned").exists()


NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, shape, outputs):
        super().__init__(nn.Flatten(), nn.Linear(64, outputs))
"""
YAML = """# @package _global_
# mine
model:
  _target_: {module}.Net
  shape: ${{dataset.shape}}
  outputs: ${{dataset.outputs}}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's directory with a network of their own."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path(f"{name}.py").write_text(NET)
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/mine.yaml").write_text(YAML.format(module=name))
    yield name
    sys.modules.pop(name, None)


def test_the_users_own_model(own, tmp_path):
    run = _trained(tmp_path / "outputs" / "run", "model=mine", "trainer.epochs=1")
    assert json.loads(dlx("evaluate", "last", "--json")) == {
        k: v for k, v in run.read()["metrics"].items() if k.startswith("test/")
    }
    assert json.loads(dlx("info", "model=mine", "--json"))["parameters"] == 650
    assert "ok" in dlx("check", "model=mine")
    Path("conf/model/mine.yaml").unlink()
    with pytest.raises(UsageError, match=f"allow=\\[{own}\\]"):
        dlx("evaluate", "last")
    assert "test/accuracy" in dlx("evaluate", "last", f"allow=[{own}]")


# -- predict -----------------------------------------------------------------------------------------------------------


def _read(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("form", ["npy", "flat", "float", "npz", "csv", "header", "txt"])
def test_predict_reads(digits, images, form):
    path = Path({"npz": "x.npz", "csv": "x.csv", "header": "x.csv", "txt": "x.txt"}.get(form, "x.npy"))
    rows = images.reshape(len(images), -1)
    match form:
        case "npy":
            np.save(path, images.astype(np.uint8))
        case "flat":
            np.save(path, rows)
        case "float":
            np.save(path, (images / 16).astype(np.float32)[:, None])
        case "npz":
            np.savez(path, x=images, y=np.arange(len(images)))
        case "csv":
            np.savetxt(path, rows, delimiter=",")
        case "header":
            names = ",".join([*(f"pixel{i}" for i in range(64)), "target"])
            np.savetxt(path, np.c_[rows, np.arange(len(rows))], delimiter=",", header=names, comments="")
        case "txt":
            np.savetxt(path, rows)
    found = _read(dlx("predict", digits.directory, path))
    logits = truth(digits, images)
    assert [int(row["label"]) for row in found] == logits.argmax(1).tolist()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    given = [[float(row[f"probability_{k}"]) for k in range(10)] for row in found]
    assert np.allclose(given, shares, atol=1e-5)


def test_predict_pictures(digits, images):
    Path("pictures/more").mkdir(parents=True)
    for i in range(3):
        Image.fromarray((images[i] * 255 / 16).round().astype(np.uint8)).save(f"pictures/{i}.png")
    large = (
        Image.fromarray((images[3] * 255 / 16).astype(np.uint8))
        .resize((32, 32), Image.Resampling.NEAREST)
        .convert("RGB")
    )
    large.save("pictures/more/3.png")
    found = _read(dlx("predict", digits.directory, "pictures"))
    assert [row["file"] for row in found] == ["0.png", "1.png", "2.png", "more/3.png"]
    assert [int(row["label"]) for row in found] == truth(digits, images[:4]).argmax(1).tolist()
    alone = _read(dlx("predict", digits.directory, "pictures/1.png"))
    assert alone[0]["label"] == found[1]["label"]


def test_predict_writes(digits, images):
    np.save("x.npy", images)
    printed = dlx("predict", digits.directory, "x.npy")
    dlx("predict", digits.directory, "x.npy", "-o", "new/y.csv")
    assert Path("new/y.csv").read_text() == printed
    dlx("predict", digits.directory, "x.npy", "-o", "y.npz")
    with np.load("y.npz") as found:
        assert found["label"].tolist() == truth(digits, images).argmax(1).tolist()
        assert found["probability"].shape == (20, 10)
    for name in ("y.png", "y.xyz", "folder"):
        with pytest.raises(UsageError, match="-o"):
            dlx("predict", digits.directory, "x.npy", "-o", name)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: np.save("x.npy", np.zeros((3, 7))), r"shape \[3, 7\].*needed: \(examples, 1, 8, 8\)"),
        (lambda: np.save("x.npy", np.zeros((0, 8, 8))), "no examples"),
        (lambda: np.save("x.npy", np.full((2, 8, 8), np.nan)), "nan"),
        (lambda: np.save("x.npy", np.full((2, 8, 8), 17)), "from 0 to 16"),
        (lambda: np.save("x.npy", np.full((2, 8, 8), -0.5)), "from 0 to 16"),
        (lambda: np.save("x.npy", np.array([{"a": 1}]), allow_pickle=True), "cannot be read"),
        (lambda: Path("x.npy").write_bytes(b"no array"), "cannot be read"),
        (lambda: None, "no such file"),
    ],
)
def test_bad_arrays(digits, write, message):
    write()
    with pytest.raises(UsageError, match=message):
        dlx("predict", digits.directory, "x.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "1,2,3\n", "has 3 columns; needed: 64"),
        (
            "x.csv",
            ",".join(["a"] * 63 + ["1"]) + "\n" + ",".join(["b"] * 64),
            "column '0': 'a' was given; needed: a number",
        ),
        ("x.csv", "", "empty"),
        ("x.txt", "1 2\n3\n", "has 1 columns"),
        ("x.png", "no picture", "cannot be read"),
        ("x.pkl", "?", "needed: .npy"),
    ],
)
def test_bad_files(digits, name, content, message):
    Path(name).write_text(content)
    with pytest.raises(UsageError, match=message):
        dlx("predict", digits.directory, name)


def test_scaling_is_that_of_the_training_run(tmp_path):
    """Diabetes: features and target standardised by the training split, found again from outside."""
    run = _trained(tmp_path / "run", "dataset=diabetes", "model.hidden=[]", "trainer.epochs=3")
    x = load_diabetes().data[:7]
    np.savetxt("x.csv", x, delimiter=",")
    found = np.array([float(row["prediction"]) for row in _read(dlx("predict", run.directory, "x.csv"))])
    one = np.array([float(row["prediction"]) for row in _read(_one(run, x[3]))])
    assert one == pytest.approx(found[3], rel=1e-5), "another input has no say in the scaling"

    from dlx.runs.saved import config_of
    from dlx.runs.trained import load

    parts, _ = load(run, config_of(run))
    train = parts.dataset.splits["train"]
    weights = torch.load(run.checkpoints / "best.pt", weights_only=True)["model"]
    w, b = (v.numpy() for v in weights.values())
    seen = (x - train.x.double().mean(0).numpy()) / train.x.double().std(0, correction=0).numpy()
    mean, std = parts.dataset.target_mean.numpy(), parts.dataset.target_std.numpy()
    assert found == pytest.approx(((seen @ w.T + b) * std + mean)[:, 0], rel=1e-4)
    assert 25 < found.mean() < 346, "in the units of the data"


def _one(run, row):
    np.savetxt("one.csv", row[None], delimiter=",")
    return dlx("predict", run.directory, "one.csv")


def test_predict_from_the_users_own_table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal([5, -3, 100], [1, 2, 30], (60, 3))
    kind = np.where(x[:, 0] > 5, "warm", "cold")
    lines = ["a,b,c,kind", *(f"{a},{b},{c},{k}" for (a, b, c), k in zip(x.tolist(), kind, strict=True))]
    Path("table.csv").write_text("\n".join(lines) + "\n")
    run = _trained(
        tmp_path / "run", "dataset=csv", "dataset.path=table.csv", "dataset.target=kind", "trainer.epochs=60"
    )
    Path("new.csv").write_text("c,kind,a,b\n100,?,9,-3\n100,?,1,-3\n")  # other order, target there and unknown
    assert [row["label"] for row in _read(dlx("predict", run.directory, "new.csv"))] == ["warm", "cold"]
    Path("bare.csv").write_text("9,-3,100\n1,-3,100\n")  # no header, no target
    assert [row["label"] for row in _read(dlx("predict", run.directory, "bare.csv"))] == ["warm", "cold"]


# -- sample --------------------------------------------------------------------------------------------------------


def test_sample(tmp_path):
    run = _trained(tmp_path / "gan", "model=gan", "trainer.max_steps=3")
    dlx("sample", run.directory, "-n", 9, "-o", "a.png")
    with Image.open("a.png") as picture:
        assert picture.mode == "L"
        assert picture.width == picture.height > 3 * 8
    for name, seed in (("a.npz", 1), ("b.npz", 1), ("c.npz", 2)):
        dlx("sample", run.directory, "-n", 5, "--seed", seed, "-o", name)
    a, b, c = (np.load(name)["x"] for name in ("a.npz", "b.npz", "c.npz"))
    assert a.shape == (5, 1, 8, 8)
    assert (a == b).all()
    assert (a != c).any()
    assert 0 <= a.min() < a.max() <= 16, "in the units of the data"
    dlx("sample", run.directory, "-n", 2, "-o", "folder")
    assert sorted(p.name for p in Path("folder").iterdir()) == ["0.png", "1.png"]


def test_what_does_not_generate_says_so(digits):
    with pytest.raises(UsageError, match=r"MLP.*generates"):
        dlx("sample", digits.directory)


# -- info and check --------------------------------------------------------------------------------------------------


def test_info_counts():
    found = json.loads(dlx("info", "model.hidden=[32]", "--json"))
    assert found["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
    assert found["macs"] == 64 * 32 + 32 * 10
    assert [layer["parameters"] for layer in found["layers"]] == [2080, 0, 330]
    assert [layer["output"] for layer in found["layers"]] == [[32], [32], [10]]
    assert "2,410 parameters" in dlx("info", "model.hidden=[32]")


def test_info_needs_no_data():
    """A network of another size than its dataset's, and larger than this machine's memory."""
    words = ("dataset.shape=[3,2000,2000]", "dataset.classes=1000", "model.hidden=[100000]")
    found = json.loads(dlx("info", "dataset=mnist", "dataset.root=nowhere", *words, "--json"))
    assert found["macs"] == 12_000_000 * 100_000 + 100_000 * 1000
    assert found["parameters"] == found["macs"] + 100_000 + 1000


def test_info_loads_what_is_not_declared():
    np.savetxt("t.csv", np.c_[np.arange(40.0), np.arange(40) ** 2, np.arange(40) % 4], delimiter=",")
    found = json.loads(dlx("info", "dataset=csv", "dataset.path=t.csv", "model.hidden=[]", "--json"))
    assert found["parameters"] == 2 * 4 + 4


def test_macs_of_recurrent_layers():
    """Also on the processor, where oneDNN hides an LSTM's products from the counter."""
    from dlx.runs.summary import trace

    model = torch.nn.LSTM(8, 16, batch_first=True).eval()
    assert trace(model, torch.zeros(1, 20, 8)).macs == 20 * 4 * 16 * (8 + 16)
    assert torch.backends.mkldnn.is_available() == torch.backends.mkldnn.enabled


def test_check_leaves_nothing_behind(tmp_path):
    assert "ok: 2,410 parameters" in dlx("check", "model.hidden=[32]")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="this machine has"):
        dlx("check", "trainer.device=cuda:9")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_passes_the_check_and_is_summed_up(model):
    from dlx.commands import check

    row, code = check._row(f"model={model}", ("trainer.device=cpu", "trainer.threads=1"))
    assert (row["result"], code) == ("ok", 0), row
    found = json.loads(dlx("info", f"model={model}", "--json"))
    assert found["parameters"] == row["parameters"]
    assert found["macs"] is None or found["macs"] >= 0
    assert not Path("outputs").exists()


def test_check_all_downloads_nothing(monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    from dlx.commands import check

    row, code = check._row("dataset=mnist", (), download=False)
    assert (row["result"], code) == ("no data here", 0)
    assert not any(Path().iterdir())


def test_check_all_goes_on_after_an_error(own):
    Path("conf/model/bad.yaml").write_text("# @package _global_\nmodel:\n  _target_: dlx.models.mlp.MLP\n  hiden: 3\n")
    from dlx.commands import check

    row, code = check._row("model=mine", ())
    assert (row["result"], code) == ("ok", 0)
    row, code = check._row("model=bad", ())
    assert (row["result"], code) == ("error", 2)
    assert "hidden" in row["message"]
    assert {"model=mine", "model=bad", "model=mlp"} <= set(check._choices())


# -- runs and compare --------------------------------------------------------------------------------------------------


def _fake(name, started, status="finished", metrics=None, config="optimizer: {lr: 0.001}", **more):
    run = Run(Path("outputs") / name)
    run.directory.mkdir(parents=True)
    run.write({"id": name, "status": status, "started": started, "metrics": metrics or {}, **more})
    groups = "dataset: {a: 1}\nmodel: {}\ntask: {}\nprocedure: {}\ntrainer: {}\n"
    (run.directory / "config.yaml").write_text(groups + config)
    return run


@pytest.fixture
def three():
    _fake("aa", "2026-01-01T00:00:00+00:00", metrics={"test/accuracy": 0.9, "test/loss": 0.5}, model="mlp")
    _fake("bb", "2026-01-03T00:00:00+00:00", metrics={"test/accuracy": 0.8, "test/loss": 0.1}, model="gru")
    _fake("cc", "2026-01-02T00:00:00+00:00", status="failed", model="mlp", config="optimizer: {lr: 0.1}")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], ["bb", "cc", "aa"]),
        (["--best", "test/accuracy"], ["aa", "bb"]),
        (["--best", "test/loss"], ["bb", "aa"]),
        (["--where", "model=mlp"], ["cc", "aa"]),
        (["--where", "optimizer.lr=1e-3"], ["bb", "aa"]),
        (["--where", "optimizer.lr=1e-3", "--where", "model=mlp"], ["aa"]),
        (["--where", "status=failed"], ["cc"]),
        (["--where", "dataset.a=1", "--where", "test/accuracy=0.8"], ["bb"]),
        (["--where", "nothing=1"], []),
    ],
)
def test_runs(three, words, ids):
    assert [about["id"] for about in json.loads(dlx("runs", "--json", *words))] == ids
    lines = dlx("runs", *words).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ids


def test_runs_errors(three):
    with pytest.raises(UsageError, match=r"test/accuracy, test/loss"):
        dlx("runs", "--best", "accuracy")
    with pytest.raises(UsageError, match="KEY=VALUE"):
        dlx("runs", "--where", "model")


def test_runs_asks_whether_a_run_is_alive():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    now, host = "2199-01-01T00:00:00+00:00", platform.node()
    _fake("dead", now, "running", host=host, pid=gone.pid)
    _fake("live", now, "running", host=host, pid=os.getpid())
    _fake("away", now, "running", host="elsewhere", pid=gone.pid)
    _fake("reused", "2001-01-01T00:00:00+00:00", "running", host=host, pid=os.getpid())
    Run(Path("outputs/half")).directory.mkdir()
    Path("outputs/half/run.json").write_text("{")
    found = {about["id"]: about["status"] for about in json.loads(dlx("runs", "--json"))}
    assert found == {"dead": "lost", "live": "running", "away": "running", "reused": "lost"}


def test_compare(digits, tmp_path):
    other = _trained(tmp_path / "other", *SHORT, "optimizer.lr=0.02", "trainer.epochs=3")
    found = json.loads(dlx("compare", digits.directory, other.directory, "--json"))
    a, b = (run["run"] for run in found["runs"])
    assert {row["key"]: (row[a], row[b]) for row in found["settings"]} == {
        "optimizer.lr": (0.01, 0.02),
        "trainer.epochs": (2, 3),
    }
    row = next(row for row in found["metrics"] if row["metric"] == "test/accuracy")
    assert (row[a], row[b]) == (digits.read()["metrics"]["test/accuracy"], other.read()["metrics"]["test/accuracy"])
    assert row["difference"] == pytest.approx(row[b] - row[a])
    curve = next(row for row in found["curves"] if row["run"] == b and row["curve"] == "train/loss")
    assert curve["last"] == pytest.approx(other.read()["metrics"]["train/loss"])
    assert len(curve["trend"]) == 3
    assert "optimizer.lr" in dlx("compare", digits.directory, other.directory)
    with pytest.raises(UsageError, match="twice"):
        dlx("compare", digits.directory, digits.directory)


# -- resume ----------------------------------------------------------------------------------------------------------


def test_resume_goes_on_in_the_same_directory(mine, tmp_path):
    said = dlx("resume", mine.directory)
    assert "2 of 2 epochs" in said
    assert "trainer.epochs=4" in said
    dlx("resume", mine.directory, "trainer.epochs=4")
    whole = _trained(tmp_path / "whole", *SHORT, "trainer.epochs=4")
    ours, theirs = mine.read(), whole.read()
    assert (ours["status"], ours["epoch"]) == ("finished", 4)
    names = [name for name in theirs["metrics"] if "second" not in name]
    assert {n: ours["metrics"][n] for n in names} == {n: theirs["metrics"][n] for n in names}
    assert "4 of 4 epochs" in dlx("resume", mine.directory)


def test_resume_by_steps_and_by_patience(tmp_path):
    run = _trained(tmp_path / "run", *SHORT, "trainer.max_steps=5")
    assert "trainer.max_steps=10" in dlx("resume", run.directory)
    dlx("resume", run.directory, "trainer.max_steps=7")
    assert run.read()["step"] == 7
    run = _trained(tmp_path / "early", *SHORT, "optimizer.lr=0", "trainer.patience=1", "trainer.epochs=9")
    assert run.read()["epoch"] < 9
    assert "trainer.patience=null" in dlx("resume", run.directory)


def test_resume_knows_when_a_learner_is_done(tmp_path):
    run = _trained(tmp_path / "run", "model=naive_bayes")
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


# -- export ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net.pt2", "net.onnx"])
def test_export(digits, images, name):
    dlx("export", digits.directory, "-o", name)
    x = torch.from_numpy(images).float()[:, None] / 16
    if name.endswith("onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(name)
        given = [session.run(None, {"x": x[:n].numpy()})[0] for n in (1, 20)]
    else:
        module = torch.export.load(name).module()
        given = [module(x[:n]).detach().numpy() for n in (1, 20)]
    assert np.allclose(given[1], truth(digits, images), atol=1e-4)
    assert np.allclose(given[0], given[1][:1], atol=1e-4)
    assert [p.name for p in Path().iterdir() if p.is_file()] == [name]


def test_export_of_a_part(tmp_path):
    run = _trained(tmp_path / "gan", "model=gan", "trainer.max_steps=3", "model.average=0")
    dlx("export", run.directory, "--module", "generator", "-o", "generator.onnx")
    import onnxruntime

    made = onnxruntime.InferenceSession("generator.onnx").run(None, {"x": np.zeros((3, 64), np.float32)})[0]
    assert made.shape == (3, 1, 8, 8)
    with pytest.raises(UsageError, match="generator"):
        dlx("export", run.directory, "--module", "genrator", "-o", "generator.onnx")


def test_export_of_an_estimator(tmp_path):
    run = _trained(tmp_path / "run", "model=logistic", "model.scale=standard", "dataset=iris")
    dlx("export", run.directory, "-o", "net.skops")
    from skops import io

    from dlx.runs.saved import config_of
    from dlx.runs.trained import load

    pipeline = io.load("net.skops", trusted=[])
    parts, _ = load(run, config_of(run))
    for batch in parts.data.split("test"):
        assert (pipeline.predict(batch.x.numpy()) == parts.task.predict(parts.model, batch.x).numpy()).all()
    with pytest.raises(UsageError, match=r"net\.skops"):
        dlx("export", run.directory, "-o", "net.onnx")


def test_export_is_not_kept_if_it_differs(digits, monkeypatch):
    from dlx.runs import export

    monkeypatch.setattr(export, "_pt2", lambda path: lambda x: [torch.zeros(len(x), 10)])
    with pytest.raises(UsageError, match="other results"):
        dlx("export", digits.directory, "-o", "net.pt2")
    assert not any(Path().glob("*pt2*"))


class FixedBatch(torch.nn.Module):
    def forward(self, x):
        return torch.zeros(len(x))


class DependsOnValues(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(("model", "message"), [(FixedBatch, "size of the batch"), (DependsOnValues, "values")])
def test_what_cannot_be_exported(digits, model, message):
    from dlx.runs.export import export
    from dlx.runs.saved import config_of
    from dlx.runs.trained import load

    parts, _ = load(digits, config_of(digits))
    with pytest.raises(UsageError, match=message):
        export(parts._replace(model=model()), Path("net.pt2"))
    assert not any(Path().glob("*pt2*"))


def test_export_errors(digits, monkeypatch):
    with pytest.raises(UsageError, match=r"\.onnx, \.pt2"):
        dlx("export", digits.directory, "-o", "net.h5")
    with pytest.raises(UsageError, match="scikit-learn"):
        dlx("export", digits.directory, "-o", "net.skops")
    from dlx.runs import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"dlx\[export\]"):
        dlx("export", digits.directory, "-o", "net.onnx")


# -- tensorboard and doctor --------------------------------------------------------------------------------------------


def test_tensorboard(digits, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: called.append(arguments))
    assert "http://localhost:7777/" in dlx("tensorboard", digits.directory, "--port", "7777")
    assert called[0][1:] == [
        *["-m", "tensorboard.main", "--logdir", str(digits.directory)],
        *["--port", "7777", "--host", "localhost"],
    ]
    Path("outputs").mkdir()
    dlx("tensorboard")
    assert called[1][4] == "outputs"
    with pytest.raises(UsageError, match="nowhere"):
        dlx("tensorboard", "nowhere")


def test_doctor(monkeypatch):
    monkeypatch.setenv("DLX_DATA", "nowhere")
    from dlx.commands.doctor import examine

    found = examine()
    assert found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"]
    assert "cpu" in found["devices"]["devices"]
    assert any("DLX_DATA=nowhere" in problem for problem in found["problems"])
    monkeypatch.delenv("DLX_DATA")
    assert not [problem for problem in examine()["problems"] if "DLX_DATA" in problem]
    assert json.loads(dlx("doctor", "--json"))["versions"]["python"] == platform.python_version()


def test_light_verbs_import_no_torch():
    code = (
        "import sys\nfrom dlx.commands import runs, compare, doctor, tensorboard, resume, evaluate, predict, info\n"
        "runs.command(['--where', 'optimizer.lr=3'], standalone_mode=False)\n"
        "assert not {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules), set(sys.modules)"
    )
    _fake("aa", "2026-01-01T00:00:00+00:00")
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
