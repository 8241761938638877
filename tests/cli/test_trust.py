"""Whose code a run directory may name."""

import json
from pathlib import Path

import pytest

from dlx.errors import UsageError
from tests.verbs import dlx, trained


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


def test_a_run_directory_does_not_vouch_for_itself(mine, monkeypatch):
    """A ./conf within a stranger's run directory is the stranger's, also for who stands in that directory."""
    monkeypatch.chdir(mine.directory)
    Path("evil.py").write_text("open('pwned', 'w')\nclass Thing: pass\n")
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/evil.yaml").write_text("model:\n  _target_: evil.Thing\n")
    _rewrite(mine, "_target_: dlx.models.mlp.MLP", "_target_: evil.Thing")
    with pytest.raises(UsageError, match=r"evil\.Thing"):
        dlx("evaluate", ".")
    assert not Path("pwned").exists()


def test_the_users_own_model(own, tmp_path):
    run = trained(tmp_path / "outputs" / "run", "model=mine", "trainer.epochs=1")
    trained_metrics = {k: v for k, v in run.read()["metrics"].items() if k.startswith("test/")}
    assert trained_metrics.items() < json.loads(dlx("evaluate", "last", "--json")).items()
    assert json.loads(dlx("info", "model=mine", "--json"))["parameters"] == 650
    assert "ok" in dlx("check", "model=mine")
    Path("conf/model/mine.yaml").unlink()
    with pytest.raises(UsageError, match=f"allow=\\[{own}\\]"):
        dlx("evaluate", "last")
    assert "test/accuracy" in dlx("evaluate", "last", f"allow=[{own}]")
