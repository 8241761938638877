"""Trials that are trained as one stack come to what each of them comes to alone."""

import os
import signal
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from dlx.loggers import jsonl
from dlx.runs.rundir import Run
from dlx.training.checkpoint import load

pytestmark = pytest.mark.slow

SHORT = ("trainer.device=cpu", "trainer.threads=1", "dataset.limit=100", "trainer.epochs=2")
QUICK = (*SHORT, "model.hidden=[12]")
UNLIKE = ("time", "train/steps_per_second")  # what no two runs have in common


def sweep(*overrides, quick=QUICK, code=0):
    """`dlx -m hydra/launcher=vectorized …`: the runs, in the order of their jobs."""
    from dlx.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["-m", "hydra/launcher=vectorized", "hydra.sweep.dir=together", *quick, *overrides])
    assert (stop.value.code or 0) == code
    found = sorted(Path("together").glob("[0-9]*-*"), key=lambda path: int(path.name.partition("-")[0]))
    return [Run(path) for path in found if (path / "run.json").exists()]


def alone(train, run):
    """The same run, by itself."""
    return train(f"alone-{run.directory.name}", *run.read()["overrides"])


def close(a, b, tolerance):
    """Equal but for rounding, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            close(a[key], b[key], tolerance)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            close(one, other, tolerance)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance, nan_ok=True)
    else:
        assert a == b


def compare(run, lone, tolerance=2e-4):
    """Weights, the optimizer's state, curves, metrics: all that a run leaves."""
    about, expected = run.read(), lone.read()
    apart = {"id", "command", "pid", "started", "ended", "seconds", "overrides", "versions", "git", "host", "metrics"}
    apart |= {"threads", "matmul"}  # a stack takes those of its own size
    named = {"model", "dataset", "trainer", "scheduler", "optimizer", "procedure", "task"}  # by Hydra alone
    assert {k: v for k, v in about.items() if k not in apart | named} == {
        k: v for k, v in expected.items() if k not in apart
    }
    close(about["metrics"], expected["metrics"], tolerance)
    ours, theirs = (jsonl.read_metrics(one.directory / "metrics.jsonl") for one in (run, lone))
    strip = [[{k: v for k, v in line.items() if k not in UNLIKE} for line in lines] for lines in (ours, theirs)]
    close(*strip, tolerance)
    for name in ("last", "best"):
        ours, theirs = (load(one.checkpoints / f"{name}.pt") for one in (run, lone))
        for content in (ours, theirs):
            content.get("trainer", {}).get("latest", {}).pop("train/steps_per_second", None)
        close(ours, theirs, tolerance)
    files = [sorted(str(f.relative_to(one.directory)) for f in one.directory.glob("figures/*")) for one in (run, lone)]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer.lr=1e-3,3e-3,1e-2",),
        ("seed=1,2", "optimizer=momentum", "optimizer.momentum=0.0,0.9"),
        ("seed=1,2", "dataset.seed=0", "model.kernel_init=default,he_normal", "optimizer=nesterov"),
        ("optimizer=adamw", "optimizer.weight_decay=0,0.1", "optimizer.betas=[0.9,0.999],[0.5,0.9]"),
        ("optimizer=rmsprop", "optimizer.alpha=0.9,0.99", "optimizer.momentum=0,0.5"),
        ("optimizer=adagrad", "optimizer.lr_decay=0,0.1"),
        ("optimizer=adadelta", "optimizer.rho=0.9,0.95"),
        ("optimizer=graves_rmsprop", "optimizer.momentum=0.5,0.9"),
        ("model.l2=0,1e-2,1e-1", "model.bias_l1=0,1e-3"),
        ("model.max_norm=0.5,1", "procedure.clip_norm=0.1"),
        ("model.batch_norm=true", "seed=1,2", "optimizer=momentum"),  # Adam makes steps of what should be zero
        ("scheduler=one_cycle", "scheduler.max_lr=1e-3,1e-2"),
        ("scheduler=step,cosine", "seed=1,2"),
        ("optimizer=sgd", "scheduler=momentum_ramp", "scheduler.first=0.3,0.5", "scheduler.epochs=1"),
    ],
    ids=lambda given: "-".join(word.replace("optimizer", "o") for word in given)[:60],
)
def test_each_trial_equals_a_lone_run(train, overrides):
    runs = sweep(*overrides)
    assert len(runs) > 1
    for run in runs:
        compare(run, alone(train, run))


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=lenet5", "dataset=digits32", "optimizer.lr=1e-3,1e-2"),
        ("model=cnn", "model.layers=[{conv: 4, kernel: 3}, {max_pool: 2}, {dense: 8}]", "seed=1,2"),
        ("model=elman", "dataset=sequence_digits", "model.hidden=8", "optimizer=momentum", "seed=1,2"),
        ("model=gru", "dataset=sequence_digits", "model.hidden=8", "optimizer=momentum", "optimizer.lr=0.01,0.1"),
        ("model=lstm", "dataset=sequence_digits", "model.hidden=8", "optimizer=momentum", "seed=1,2"),
        (
            "model=bigru",
            "model.layers=2",
            "dataset=sequence_digits",
            "model.hidden=8",
            "optimizer=momentum",
            "seed=1,2",
        ),
        ("model=autoencoder", "model.hidden=[8]", "optimizer.lr=1e-3,1e-2"),
        ("model=sparse_autoencoder", "model.hidden=[8]", "model.weight=1e-3,1e-2", "model.target=0.05,0.1"),
        ("model=contractive_autoencoder", "model.hidden=[8]", "model.weight=1e-3,1e-2"),
        ("model=conv_autoencoder", "model.channels=[4]", "model.code=4", "seed=1,2"),
        ("model=rbm", "model.hidden=8", "optimizer.lr=0.05,0.1", "seed=1,2", "procedure.steps=2"),
        ("model=rbm", "model.hidden=8", "optimizer.lr=0.05,0.1", "procedure.persistent=true"),
        ("dataset=diabetes", "task=regression", "model.hidden=[8]", "optimizer.lr=1e-3,1e-2"),
    ],
    ids=lambda given: given[0],
)
def test_each_kind_of_model_can_be_stacked(train, capsys, overrides):
    runs = sweep(*overrides, quick=SHORT)
    told = capsys.readouterr().out
    assert "trained together" in told
    assert " median " in told  # each epoch's line has a number, of models that no validation judges too
    for run in runs:
        compare(run, alone(train, run), 1e-3)


def test_a_trial_that_fails_or_stops_early_leaves_the_others_alone(train, capsys):
    runs = sweep("optimizer=sgd", "optimizer.lr=0.05,1e30,1e-9,0.1", "trainer.patience=1", "trainer.epochs=6", code=3)
    told = capsys.readouterr()
    assert "the training loss is not finite at step" in told.err
    assert "1 of the sweep's jobs failed" in told.err
    about = [run.read() for run in runs]
    assert [one["status"] for one in about] == ["finished", "failed", "finished", "finished"]
    assert "not finite" in about[1]["error"]
    assert about[2]["epoch"] < about[3]["epoch"]  # which stood still, and stopped early
    for run in (runs[0], runs[2], runs[3]):
        compare(run, alone(train, run))


@pytest.mark.parametrize("model", ["mlp", "rbm"])
def test_a_trial_that_was_interrupted_goes_on_alone(train, resume, monkeypatch, model):
    """As if it had never been one of many: dlx resume knows nothing of stacks."""
    from dlx.vectorized.engine import Engine

    stepped = Engine.finish_step

    def interrupting(self):
        stepped(self)
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Engine, "finish_step", interrupting)
    hidden = "model.hidden=[8]" if model == "mlp" else "model.hidden=8"
    runs = sweep(f"model={model}", hidden, "optimizer.lr=0.01,0.02", quick=SHORT, code=130)
    assert [run.read()["status"] for run in runs] == ["interrupted"] * 2
    assert [run.read()["step"] for run in runs] == [3, 3]
    for run in runs:
        resume(run)
        assert run.read()["status"] == "finished"
        lone = alone(train, run)
        close(run.read()["metrics"], lone.read()["metrics"], 1e-4)
        close(*(load(one.checkpoints / "last.pt")["model"] for one in (run, lone)), 1e-4)


def test_what_cannot_be_stacked_runs_alone_and_says_why(capsys):
    runs = sweep("model=mlp,knn", "seed=1,2", quick=SHORT)
    assert [run.read()["status"] for run in runs] == ["finished"] * 4
    told = capsys.readouterr()
    assert "2 trials, trained together" in told.out
    assert "vectorized: 2 jobs ran alone: procedure Fit has no stacked form" in told.err


def test_structures_are_told_apart(capsys):
    runs = sweep("model.hidden=[8],[9]", "seed=1,2", "model.dropout=0,0.5", quick=SHORT)
    assert len(runs) == 8
    assert capsys.readouterr().out.count("2 trials, trained together") == 4


def test_jobs_return_their_metric_and_leave_what_a_lone_run_leaves(train):
    from dlx.vectorized.launcher import Vectorized

    returned = []
    launch = Vectorized.launch

    def noted(self, *args, **named):
        returned.extend(launch(self, *args, **named))
        return returned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vectorized, "launch", noted)
        runs = sweep("optimizer.lr=0.01,0.02")
    assert len({run.read()["id"] for run in runs}) == 2
    for back, run in zip(returned, runs, strict=True):
        assert back.return_value == run.read()["metrics"]["val/best_accuracy"]
        assert list(back.overrides) == run.read()["overrides"]
        assert back.cfg.optimizer.lr == back.hydra_cfg.hydra.job.num * 0.01 + 0.01
        assert OmegaConf.load(run.directory / ".hydra" / "overrides.yaml") == run.read()["overrides"]
        hydra = OmegaConf.load(run.directory / ".hydra" / "hydra.yaml").hydra
        assert hydra.job.num == int(run.directory.name[0])
        assert hydra.runtime.output_dir == str(run.directory.absolute())
        composed, complete = (OmegaConf.load(run.directory / name) for name in (".hydra/config.yaml", "config.yaml"))
        assert composed.optimizer.lr == complete.optimizer.lr
        lone = OmegaConf.load(alone(train, run).directory / "config.yaml")
        assert complete == lone
        assert list(run.directory.glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.hidden=[32]", "model.dropout=0.1,0.7"),
        ("model=denoising_autoencoder", "model.hidden=[16]", "model.level=0.05,0.6", "optimizer.lr=0.01"),
    ],
    ids=["dropout", "noise"],
)
def test_rates_of_noise_are_each_trials_own(train, capsys, overrides):
    """The draws are not a lone run's, so that only what they do on the average can be compared."""
    runs = sweep(*overrides, "trainer.epochs=15", quick=SHORT)
    assert "2 trials, trained together" in capsys.readouterr().out
    losses = [run.read()["metrics"]["train/loss"] for run in runs]
    alone_losses = [alone(train, run).read()["metrics"]["train/loss"] for run in runs]
    assert losses[0] < losses[1]
    assert losses == pytest.approx(alone_losses, rel=0.25)
