"""What the tests of the verbs share: typing a verb, a short run, and what its weights say without dlx."""

from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner

from dlx.runs.rundir import Run

SHORT = ("trainer.epochs=2", "model.hidden=[32]", "optimizer.lr=0.01")


def dlx(verb, *words):
    """What a verb prints on standard output; errors are raised as they are."""
    command = import_module(f"dlx.cli.commands.{verb}").command
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.stdout


def trained(directory, *overrides):
    """A run in a directory of its own."""
    from dlx.config.compose import compose
    from dlx.run import train_in

    config = compose(["trainer.device=cpu", "trainer.threads=1", *overrides])
    about = {"overrides": list(overrides), "model": "mlp", "dataset": "digits"}
    return train_in(directory, config, about)


def truth(run, images):
    """Logits by the saved weights and plain numpy."""
    weights = torch.load(run.checkpoints / "best.pt", weights_only=True)["model"]
    w1, b1, w2, b2 = (v.numpy() for v in weights.values())
    hidden = np.maximum(images.reshape(len(images), -1) / 16 @ w1.T + b1, 0)
    return hidden @ w2.T + b2


def fake(name, started, status="finished", metrics=None, config="optimizer: {lr: 0.001}", **more):
    run = Run(Path("outputs") / name)
    run.directory.mkdir(parents=True)
    run.write({"id": name, "status": status, "started": started, "metrics": metrics or {}, **more})
    groups = "dataset: {a: 1}\nmodel: {}\ntask: {}\nprocedure: {}\ntrainer: {}\n"
    (run.directory / "config.yaml").write_text(groups + config)
    return run
