"""One contract for all: every model of conf/model learns, saves, loads afresh, predicts the same, resumes exactly."""

import json
import math

import pytest
import torch
from omegaconf import OmegaConf

from dlx.parts import assemble
from dlx.training.checkpoint import load
from tests.conftest import MODELS, same, small, undeclared

pytestmark = pytest.mark.slow

SHORT = ("trainer.epochs=2", "dataset.limit=320", "trainer.batch=32", "trainer.save_every=1000")


@pytest.mark.parametrize("model", MODELS)
def test_learns_saves_and_loads_afresh(model, train):
    run = train("run", f"model={model}", *small(model), *SHORT)
    about = run.read()
    assert about["status"] == "finished"
    assert about["metrics"], "a run ends with numbers"
    assert all(math.isfinite(value) for value in about["metrics"].values())
    assert not undeclared(run)
    # `assemble` builds the same parts with fresh weights; the checkpoint must make them the trained ones.
    parts = assemble(OmegaConf.load(run.directory / "config.yaml"))
    best = run.checkpoints / "best.pt"
    parts.model.load_state_dict(load(best if best.exists() else run.checkpoints / "last.pt")["model"])
    parts.trainer.model, parts.trainer.task, parts.trainer.data = parts.model, parts.task, parts.data
    torch.manual_seed(0)
    again = parts.trainer.evaluate("test")
    deterministic = {name: value for name, value in again.items() if f"test/{name}" in about["metrics"]}
    assert deterministic
    torch.manual_seed(0)
    assert parts.trainer.evaluate("test") == again, "an evaluation repeats itself"
    for name in ("accuracy", "error", "r2", "log_likelihood", "inertia"):
        if name in again:
            assert again[name] == pytest.approx(about["metrics"][f"test/{name}"], rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_resumed_equals_uninterrupted(model, train, resume):
    straight = train("straight", f"model={model}", *small(model), *SHORT)
    steps = straight.read()["step"]
    cut = max(1, steps // 2 - 1)  # within the first epoch
    stopped = train("stopped", f"model={model}", *small(model), *SHORT, stop=cut)
    assert stopped.read()["step"] == cut
    resume(stopped)
    one, two = (load(run.checkpoints / "last.pt") for run in (straight, stopped))
    for part in ("model", "procedure", "trainer", "random"):
        assert same(one[part], two[part]), f"{part} differs after a resume at step {cut} of {steps}"
    assert curves(straight) == curves(stopped)


def curves(run):
    """metrics.jsonl without the clock: `{(step, name): value}`."""
    points = {}
    for line in (run.directory / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if name.startswith(("train/", "val/")) and "per_second" not in name:
                points[record["step"], name] = value
    return points
