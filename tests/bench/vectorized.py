"""Time many small trainings: one after another, by two joblib workers, and as one stack.

    python -m tests.bench.vectorized [--rounds 3] [--only tiny mnist gru] [--trials 16 64] [--compile no]

A step: that of the stack, on batches that the trials share and on ones of their own, beside those of as many bare
PyTorch loops (indexed tensors, fused Adam), in turns. End to end: whole commands, from the start of the process to the
last file, in turns. The trials differ in their learning rates. Of those that run one after another only the first few
are run: what a trial more takes is known by then.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

CASES = {
    "tiny": ("64-32-10 MLP on the digits, 30 epochs", ("model.hidden=[32]", "trainer.epochs=30")),
    "mnist": (
        "784-64-10 MLP on 12,800 MNIST digits, 2 epochs",
        ("dataset=mnist", "dataset.limit=12800", "model.hidden=[64]", "trainer.epochs=2"),
    ),
    **{
        name: (
            f"{name.upper()} of 32 units on the digits' 64 pixels, 5 epochs",
            (f"model={name}", "dataset=sequence_digits", "model.hidden=32", "trainer.epochs=5"),
        )
        for name in ("gru", "lstm", "elman")
    },
}
FEW = {"one after another": (1, 7), "two joblib workers": (2, 8)}  # trials run, to know what K take


def rates(count: int) -> str:
    """So many learning rates, as an override."""
    return "optimizer.lr=" + ",".join(f"{1e-4 * 10 ** (2 * i / max(count - 1, 1)):.5g}" for i in range(count))


def seconds(case: str, count: int, *overrides: str) -> tuple[float, float]:
    """Wall and processor seconds of a sweep, files and all."""
    words = [*CASES[case][1], *overrides, "optimizer.lr=1e-3" if count == 1 else rates(count)]
    threads = {} if "hydra/launcher=vectorized" in overrides else {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-W", "ignore", "-m", "dlx", "-m", f"hydra.sweep.dir={place}/sweep", *words]
        before, started = os.times(), time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, **threads}, check=False)
        wall, after = time.perf_counter() - started, os.times()
        made = len(list(Path(place).glob("sweep/*/run.json")))
    if done.returncode or made != count:
        raise SystemExit(f"{' '.join(command)} made {made} of {count} runs")
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, worked


def extended(name: str, case: str, count: int, *overrides: str) -> tuple[float, float]:
    """What so many trials take, by what a few take."""
    few, more = FEW[name]
    less = seconds(case, few, *overrides)
    whole = seconds(case, more, *overrides)
    wall, worked = (a + (count - few) * (b - a) / (more - few) for a, b in zip(less, whole, strict=True))
    return wall, worked


def end_to_end(case: str, counts: list[int], rounds: int, console: Console) -> None:
    """A table for each number of trials."""
    for count in counts:
        lone = ("trainer.threads=1",)
        joblib = (*lone, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
        competitors: dict[str, Callable[[], tuple[float, float]]] = {
            "one after another": partial(extended, "one after another", case, count, *lone),
            "two joblib workers": partial(extended, "two joblib workers", case, count, *joblib),
            "one stack": partial(seconds, case, count, "hydra/launcher=vectorized"),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in competitors}
        for _ in range(rounds):
            for name, run in competitors.items():
                taken[name].append(run())
        table = Table(title=f"{count} × {CASES[case][0]}, {rounds} rounds")
        for column in ("", "seconds", "throughput", "processor seconds", "throughput by these"):
            table.add_column(column, justify="left" if not column else "right")
        first = taken["one after another"]
        for name, times in taken.items():
            ratios = [[one[i] / own[i] for one, own in zip(first, times, strict=True)] for i in (0, 1)]
            row = []
            for i in (0, 1):
                row += [f"{statistics.median(t[i] for t in times):.1f}", f"{statistics.median(ratios[i]):.1f}"]
            table.add_row(name, *row)
        console.print(table)


def steps(case: str, count: int, rounds: int, compiling: list[bool], console: Console) -> None:
    """A table of a step's time: of a trial alone, and of a stack's by the number of trials."""
    import torch
    import torch.nn.functional as F

    from dlx.batch import Batch
    from dlx.config.compose import compose
    from dlx.hardware.random_state import get_random_state
    from dlx.parts import assemble
    from dlx.vectorized.stacked_backprop import StackedBackprop
    from dlx.vectorized.trial import Trial

    torch.set_num_threads(1)

    alone = assemble(compose([*CASES[case][1], "trainer.threads=1"]))

    def trial(k: int) -> Trial:
        config = compose([*CASES[case][1], f"optimizer.lr={1e-4 * (k + 1)}", "trainer.threads=1"])
        parts = assemble(config, loaded=alone.dataset, data=alone.data)
        return Trial(parts, Path(), {}, get_random_state())

    model, train = alone.model, alone.data
    x, y = (torch.cat(parts) for parts in zip(*((b.x, b.y) for b in train.split("train")), strict=True))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    size = train.batch
    orders = torch.stack([torch.randperm(len(x))[: 20 * size] for _ in range(count)]).split(size, 1)

    def bare() -> None:
        torch.set_float32_matmul_precision(alone.machine["matmul"])
        for order in orders:
            index = order[0]
            loss = F.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def stacked(compiled: bool, own: bool) -> Callable[[], None] | None:
        engine = StackedBackprop([trial(k) for k in range(count)], compile=compiled)
        if engine.compile != compiled:  # recurrent layers are written out
            return None

        def turn() -> None:
            torch.set_float32_matmul_precision("highest")  # as the launcher has it
            for order in orders:
                index = order if own else order[0]
                engine.step(Batch(x[index], y[index]), own)

        return turn

    competitors = {"bare loop": bare}
    for own in (False, True):
        for compiled in compiling:
            words = "own batches" if own else "shared batches"
            run = stacked(compiled, own)
            if run is not None:
                competitors[f"stack, {words}{', compiled' * compiled}"] = run
    for run in competitors.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, run in competitors.items():
            started = time.process_time()
            run()
            taken[name].append((time.process_time() - started) / len(orders) / (1 if run is bare else count))
    table = Table(title=f"A trial's step, {CASES[case][0].partition(' on ')[0]}, {count} trials, one thread")
    for column in ("", "µs a trial", "of the bare loop"):
        table.add_column(column, justify="left" if not column else "right")
    for name, times in taken.items():
        ratio = statistics.median(own / one for own, one in zip(times, taken["bare loop"], strict=True))
        table.add_row(name, f"{statistics.median(times) * 1e6:.1f}", f"{ratio:.3f}")
    console.print(table)


def main() -> None:
    """Run the cases that were asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--trials", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--part", nargs="+", choices=("steps", "sweeps"), default=["steps", "sweeps"])
    parser.add_argument("--compile", nargs="+", choices=("no", "yes"), default=["no", "yes"])
    asked = parser.parse_args()
    console = Console()
    for case in asked.only:
        if "steps" in asked.part:
            for count in asked.trials:
                steps(case, count, 5 * asked.rounds, [word == "yes" for word in asked.compile], console)
        if "sweeps" in asked.part:
            end_to_end(case, asked.trials, asked.rounds, console)


if __name__ == "__main__":
    main()
