"""Time steps of one process and of two that learn together over gloo, with the same examples in a step.

    python -m tests.bench.distributed [--rounds 3] [--only mlp lenet5]

Whole commands on MNIST (DLX_DATA), in turns; each says how many steps a second its epochs took, and the first epoch is
left out. Wall-clock time: what matters is how long one waits. Printed are the median milliseconds of a step, and the
median of the ratios to one process of the same round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

CASES = {
    "mlp": ("784-256-256-10 MLP", ("model=mlp", "model.hidden=[256,256]")),
    "lenet5": ("LeNet-5", ("model=lenet5",)),
}
RUNS = {
    "one process, one thread": ("trainer.batch=128", "trainer.threads=1"),
    "one process, two threads": ("trainer.batch=128", "trainer.threads=2"),
    "two processes": ("trainer=ddp", "trainer.processes=2", "trainer.batch=64", "trainer.threads=1"),
}


def milliseconds(case: str, run: str) -> float:
    """Of a step, the median over epochs."""
    words = ["dataset=mnist", "dataset.limit=25600", "dataset.val=0", "trainer.device=cpu", "trainer.epochs=5"]
    words += [*CASES[case][1], *RUNS[run]]
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-W", "ignore", "-m", "dlx", "train", f"hydra.run.dir={place}/run", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        lines = [json.loads(line) for line in (Path(place) / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["train/steps_per_second"] for line in lines if "train/steps_per_second" in line]
    return statistics.median(1000 / rate for rate in rates[1:])


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    asked = parser.parse_args()
    for case in asked.only:
        taken: dict[str, list[float]] = {run: [] for run in RUNS}
        for _ in range(asked.rounds):
            for run in RUNS:
                taken[run].append(milliseconds(case, run))
        table = Table("", "ms a step", "of one process", title=f"{CASES[case][0]}, 128 examples a step")
        first = taken["one process, one thread"]
        for run, times in taken.items():
            ratio = statistics.median(a / b for a, b in zip(times, first, strict=True))
            table.add_row(run, f"{statistics.median(times):.2f}", f"{ratio:.2f}")
        Console().print(table)


if __name__ == "__main__":
    main()
