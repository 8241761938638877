"""Every verb that looks, as it is typed; resume, predict, sample and export have files of their own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.errors import UsageError
from dlx.runs.rundir import Run
from tests.conftest import MODELS, ROOT
from tests.verbs import SHORT, dlx, fake, trained


def test_evaluate_gives_what_training_measured(digits):
    measured = json.loads(dlx("evaluate", digits.directory, "--json"))
    trained = {k: v for k, v in digits.read()["metrics"].items() if k.startswith("test/")}
    assert trained.items() < measured.items(), "and scikit-learn's scores besides"


def test_evaluate_any_split_checkpoint_and_batch(digits):
    before = sorted((p, p.stat().st_mtime_ns) for p in digits.directory.rglob("*"))
    by_size = [dlx("evaluate", digits.directory, "--json", "--split", "val", f"trainer.batch={n}") for n in (3, 50)]
    assert json.loads(by_size[0]) == pytest.approx(json.loads(by_size[1]))
    dlx("evaluate", digits.directory, "--checkpoint", "last")
    after = sorted((p, p.stat().st_mtime_ns) for p in digits.directory.rglob("*"))
    assert before == after, "looking at a run leaves it as it is"


def test_without_a_test_split_the_last_one_there_is_is_measured(tmp_path):
    run = trained(tmp_path / "run", "model=neural_gas", "dataset.val=0", "dataset.test=0", "trainer.epochs=1")
    assert set(json.loads(dlx("evaluate", run.directory, "--json"))) >= {"train/inertia"}
    assert "train/inertia" in dlx("evaluate", run.directory)


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
    from dlx.trained.summary import trace

    model = torch.nn.LSTM(8, 16, batch_first=True).eval()
    assert trace(model, torch.zeros(1, 20, 8)).macs == 20 * 4 * 16 * (8 + 16)
    assert torch.backends.mkldnn.is_available() == torch.backends.mkldnn.enabled


def test_check_leaves_nothing_behind(tmp_path):
    assert "ok: 2,410 parameters" in dlx("check", "model.hidden=[32]")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="this machine has"):
        dlx("check", "trainer.device=cuda:9")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_passes_the_check_and_is_summed_up(model):
    from dlx.cli.commands import check

    row, code = check._make_row(f"model={model}", ("trainer.device=cpu", "trainer.threads=1"))
    assert (row["result"], code) == ("ok", 0), row
    found = json.loads(dlx("info", f"model={model}", "--json"))
    assert found["parameters"] == row["parameters"]
    assert found["macs"] is None or found["macs"] >= 0
    assert not Path("outputs").exists()


def test_check_all_downloads_nothing(monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    from dlx.cli.commands import check

    row, code = check._make_row("dataset=mnist", (), download=False)
    assert (row["result"], code) == ("no data here", 0)
    assert not any(Path().iterdir())


def test_check_all_goes_on_after_an_error(own):
    Path("conf/model/bad.yaml").write_text("# @package _global_\nmodel:\n  _target_: dlx.models.mlp.MLP\n  hiden: 3\n")
    from dlx.cli.commands import check

    row, code = check._make_row("model=mine", ())
    assert (row["result"], code) == ("ok", 0)
    row, code = check._make_row("model=bad", ())
    assert (row["result"], code) == ("error", 2)
    assert "hidden" in row["message"]
    assert {"model=mine", "model=bad", "model=mlp"} <= set(check._list_choices())


@pytest.fixture
def three():
    fake("aa", "2026-01-01T00:00:00+00:00", metrics={"test/accuracy": 0.9, "test/loss": 0.5}, model="mlp")
    fake("bb", "2026-01-03T00:00:00+00:00", metrics={"test/accuracy": 0.8, "test/loss": 0.1}, model="gru")
    fake("cc", "2026-01-02T00:00:00+00:00", status="failed", model="mlp", config="optimizer: {lr: 0.1}")


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
    fake("dead", now, "running", host=host, pid=gone.pid)
    fake("live", now, "running", host=host, pid=os.getpid())
    fake("away", now, "running", host="elsewhere", pid=gone.pid)
    fake("reused", "2001-01-01T00:00:00+00:00", "running", host=host, pid=os.getpid())
    Run(Path("outputs/half")).directory.mkdir()
    Path("outputs/half/run.json").write_text("{")
    found = {about["id"]: about["status"] for about in json.loads(dlx("runs", "--json"))}
    assert found == {"dead": "lost", "live": "running", "away": "running", "reused": "lost"}


def test_compare(digits, tmp_path):
    other = trained(tmp_path / "other", *SHORT, "optimizer.lr=0.02", "trainer.epochs=3")
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


def test_tensorboard(digits, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: called.append(arguments))
    assert "http://localhost:7777/" in dlx("tensorboard", digits.directory, "--port", "7777")
    assert called[0][1:] == [
        *["-P", "-m", "tensorboard.main", "--logdir", str(digits.directory)],
        *["--port", "7777", "--host", "localhost"],
    ]
    Path("outputs").mkdir()
    dlx("tensorboard")
    assert called[1][5] == "outputs"
    with pytest.raises(UsageError, match="nowhere"):
        dlx("tensorboard", "nowhere")


def test_doctor(monkeypatch):
    monkeypatch.setenv("DLX_DATA", "nowhere")
    from dlx.cli.commands.doctor import examine

    found = examine()
    assert found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"]
    assert "cpu" in found["devices"]["devices"]
    assert any("DLX_DATA=nowhere" in problem for problem in found["problems"])
    monkeypatch.delenv("DLX_DATA")
    assert not [problem for problem in examine()["problems"] if "DLX_DATA" in problem]
    assert json.loads(dlx("doctor", "--json"))["versions"]["python"] == platform.python_version()


def test_light_verbs_import_no_torch():
    code = (
        "import sys\nfrom dlx.cli.commands import runs, compare, doctor, tensorboard, resume, evaluate, predict, info\n"
        "runs.command(['--where', 'optimizer.lr=3'], standalone_mode=False)\n"
        "assert not {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules), set(sys.modules)"
    )
    fake("aa", "2026-01-01T00:00:00+00:00")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
