"""Time training steps of dlx beside a bare PyTorch loop, Lightning and Keras.

    python -m tests.bench [--rounds 7] [--threads 1] [--only tiny mlp lenet5 resnet20]
    python -m tests.bench --only hmm8 hmm64          # a step is an iteration of EM

Each competitor runs in a process of its own, and they take turns, round by round: what slows the machine for a while
slows all of them. Printed are the median microseconds of a step (on one thread the processor's), and the median of the
ratios to the bare loop of the same round (lower is better). Start-up, data and compilation are outside the timing;
compilation is printed by itself.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from tests.bench import markov

CASES = {
    "tiny": "64-32-10 MLP, batch 32",
    "mlp": "784-256-256-10 MLP, batch 128",
    "lenet5": "LeNet-5, batch 64, 1×28×28",
    "resnet20": "ResNet-20, batch 128, 3×32×32",
    "lstm": "LSTM-128, batch 32, 64 steps of 28",
    "gru": "GRU-128, batch 32, 64 steps of 28",
    **{case: f"HMM of {states} states, 1,000 sequences of 100 symbols" for case, states in markov.CASES.items()},
}
COMPETITORS = {
    "bare": "bare PyTorch loop (indexed tensors, fused Adam)",
    "bare_low": "the same in bfloat16, channels last",
    "dlx": "dlx, logging and checkpoints on",
    "dlx_low": "dlx, trainer.precision=bf16",
    "dlx_compiled": "dlx, procedure.compile=step",
    "lightning": "Lightning, defaults and TensorBoard",
    "keras": "Keras 3 on torch",
}
NEEDS = {"lightning": "lightning", "keras": "keras", "dynamax": "dynamax"}
# Low precision is for convolutions; compiling a deep network's step takes minutes, and gains nothing. torch's recurrent
# kernels are not compiled.
LEFT_OUT = {
    "tiny": ("bare_low", "dlx_low"),
    "mlp": ("bare_low", "dlx_low"),
    "lenet5": (),
    "resnet20": ("dlx_compiled", "keras"),
    "lstm": ("bare_low", "dlx_low", "dlx_compiled"),
    "gru": ("bare_low", "dlx_low", "dlx_compiled"),
}


class Worker:
    """A competitor in its own process; each `turn` takes the agreed steps and tells the seconds."""

    def __init__(self, name: str, case: str, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "KERAS_BACKEND": "torch"}
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.bench.worker", name, case, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=environment,
        )
        self.ready, self.steps = self._read()

    def _read(self) -> tuple[float, int]:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # a competitor may greet its user first
            if line.startswith("BENCH "):
                seconds, steps = line.split()[1:]
                return float(seconds), int(steps)
        self.said.seek(0)
        raise SystemExit(f"{self.process.args} stopped:\n{self.said.read()[-3000:]}")

    def turn(self) -> float:
        """Seconds of a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        seconds, steps = self._read()
        return seconds / steps

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def named(case: str) -> dict[str, str]:
    """Who competes in a case, and what to call it."""
    return {name: told for name, (told, _) in markov.COMPETITORS.items()} if case in markov.CASES else COMPETITORS


@contextmanager
def workers(case: str, threads: int) -> Iterator[dict[str, Worker]]:
    """All competitors that are installed, started and warmed up."""
    names = set(named(case)) - {*LEFT_OUT.get(case, ())}
    present = {name for name in names if name not in NEEDS or importlib.util.find_spec(NEEDS[name])}
    started = {name: Worker(name, case, threads) for name in named(case) if name in present}
    try:
        yield started
    finally:
        for worker in started.values():
            worker.stop()


def main() -> None:
    """Run the cases that were asked for and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    asked = parser.parse_args()
    console = Console()
    for case in asked.only:
        with workers(case, asked.threads) as running:
            times: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(asked.rounds):
                for name, worker in running.items():
                    times[name].append(worker.turn())
            table = Table(title=f"{CASES[case]}, {asked.threads} thread(s), {asked.rounds} rounds")
            for column in ("", "µs a step", "of the bare loop", "first step, s"):
                table.add_column(column, justify="left" if not column else "right")
            for name, taken in times.items():
                ratio = statistics.median(own / bare for own, bare in zip(taken, times["bare"], strict=True))
                row = (f"{statistics.median(taken) * 1e6:,.0f}", f"{ratio:.2f}", f"{running[name].ready:.1f}")
                table.add_row(named(case)[name], *row)
            console.print(table)


if __name__ == "__main__":
    main()
