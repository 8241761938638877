"""One chain: a run is begun, broken, resumed, broken again, and finished; each in a forked process of its own."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import small
from tests.torture.compare import list_differences
from tests.torture.faults import KINDS, inject

TINY = (
    "trainer.device=cpu",
    "trainer.threads=1",
    "trainer.batch=32",
    "trainer.epochs=3",
    "trainer.save_every=0",
    "trainer.flush_every=2",
    "trainer.pictures_every=1",
    "dataset.limit=160",
    "logger=[tensorboard,csv]",
)


def run_apart(function: Callable[[], Any], output: Path, seconds: float = 120) -> int:
    """Call a function in a forked process, its output in a file. Returns its exit code."""

    def call() -> None:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        try:
            function()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(3)
        os._exit(0)

    child = multiprocessing.get_context("fork").Process(target=call)
    child.start()
    child.join(seconds)
    if child.is_alive():
        child.kill()
        child.join()
        return -99
    return child.exitcode or 0


def train(directory: Path, model: str, fault: Callable[[], None] = lambda: None) -> None:
    """Begin a run, or go on with one that is there."""
    from dlx.config.compose import compose
    from dlx.run import resume, train_in
    from dlx.runs.rundir import Run
    from dlx.runs.saved import load_config

    overrides = [f"model={model}", *small(model), *TINY]
    if (directory / "run.json").exists():
        run = Run(directory)
        config = load_config(run)
        fault()
        resume(run, config)
    else:
        config = compose(overrides)
        fault()
        train_in(directory, config, {"overrides": overrides, "model": model})


def torture(model: str, folder: Path, seed: int, faults: int, kinds: tuple[str, ...] = KINDS) -> dict[str, Any]:
    """Break a run of a model some times, and compare it with one that is left alone.

    Returns:
        The kinds of faults, how many of them ended the process, and what differs.
    """
    dice, folder = random.Random(f"{model} {seed}"), folder.absolute()
    folder.mkdir(parents=True)
    whole, broken, output = folder / "whole", folder / "broken", folder / "output.txt"
    started = time.monotonic()
    if run_apart(lambda: train(whole, model), output) != 0:
        return {"model": model, "struck": 0, "kinds": [], "differences": [f"does not train: {_last_line(output)}"]}
    seconds, struck = time.monotonic() - started, 0
    drawn = [kinds[(seed * faults + i) % len(kinds)] for i in range(faults)]
    for kind in drawn:
        code = run_apart(
            lambda kind=kind: train(  # type: ignore[misc]
                broken, model, lambda: inject(kind, broken, dice, seconds, changes=80, writes=160)
            ),
            output,
        )
        struck += code != 0
        if code == -99:
            return {"model": model, "struck": struck, "kinds": drawn, "differences": [f"hangs after {kind}"]}
        if code == 0:
            break  # it was finished before the fault
    differences = []
    if not _is_finished(broken):
        code = run_apart(lambda: train(broken, model), output)
        differences = [f"exit code {code} of the last resume: {_last_line(output)}"] if code else []
    return {
        "model": model,
        "struck": struck,
        "kinds": drawn,
        "differences": differences or list_differences(whole, broken),
    }


def _is_finished(directory: Path) -> bool:
    from dlx.runs.rundir import Run

    return (directory / "run.json").exists() and Run(directory).read()["status"] == "finished"


def _last_line(output: Path) -> str:
    return output.read_text(errors="replace").strip().splitlines()[-1][:300]
