"""An RBM's CD-1 step (784-500, batch 100) beside plain torch and scikit-learn; annealed importance sampling.

    python -m tests.bench.boltzmann [--rounds 30]

One process, one thread, the competitors in turns; medians of processor time and of the ratios to plain torch.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

VISIBLE, HIDDEN, BATCH = 784, 500, 100


def plain(x: torch.Tensor) -> Callable[[], object]:
    """CD-1 as one writes it by hand."""
    W, b, c = 0.01 * torch.randn(VISIBLE, HIDDEN), torch.zeros(VISIBLE), torch.zeros(HIDDEN)

    def step() -> None:
        p = torch.sigmoid(x @ W + c)
        v = torch.bernoulli(torch.sigmoid(torch.bernoulli(p) @ W.T + b))
        q = torch.sigmoid(v @ W + c)
        W.add_((x.T @ p - v.T @ q) / BATCH, alpha=0.05)
        b.add_((x - v).mean(0), alpha=0.05)
        c.add_((p - q).mean(0), alpha=0.05)

    return step


def products(x: torch.Tensor) -> Callable[[], object]:
    """The step's five matrix products alone."""
    W, H = torch.randn(VISIBLE, HIDDEN), torch.rand(BATCH, HIDDEN)
    return lambda: (x @ W, H @ W.T, x @ W, x.T @ H, x.T @ H)


def dlx(x: torch.Tensor) -> Callable[[], object]:
    """dlx's own step."""
    from dlx.batch import Batch
    from dlx.models.boltzmann.rbm import RBM
    from dlx.procedures.contrastive_divergence import ContrastiveDivergence
    from dlx.tasks.density import Density

    procedure = ContrastiveDivergence(partial(torch.optim.SGD, lr=0.05))
    procedure.bind(RBM([VISIBLE], hidden=HIDDEN), Density())
    return lambda: procedure.step(Batch(x))


def sklearn(x: torch.Tensor, dtype: type) -> Callable[[], object]:
    """scikit-learn's BernoulliRBM, which learns by persistent chains: the same products."""
    from sklearn.neural_network import BernoulliRBM

    X, random = x.numpy().astype(dtype), np.random.RandomState(0)
    rbm = BernoulliRBM(HIDDEN, learning_rate=0.05, batch_size=BATCH, random_state=0)
    rbm.partial_fit(X)
    return lambda: rbm._fit(X, random)


def annealing(steps: int = 1000, chains: int = 100) -> float:
    """Chains of 14,500 temperatures that a second brings, for the same machine."""
    from dlx.models.boltzmann.ais import Bipartite, anneal

    machine = Bipartite(0.05 * torch.randn(VISIBLE, HIDDEN), torch.zeros(VISIBLE), torch.zeros(HIDDEN))
    start = time.process_time()
    anneal(machine, None, chains, steps)
    return chains * steps / 14500 / (time.process_time() - start)


def main() -> None:
    """Print the table."""
    rounds = argparse.ArgumentParser(description=__doc__)
    rounds.add_argument("--rounds", type=int, default=30)
    asked = rounds.parse_args()
    torch.set_num_threads(1)
    x = (torch.rand(BATCH, VISIBLE) < 0.2).float()
    runs = {
        "plain torch": ("highest", plain(x)),
        "plain torch, oneDNN products": ("medium", plain(x)),
        "its five products alone, oneDNN": ("medium", products(x)),
        "dlx, trainer.matmul=highest": ("highest", dlx(x)),
        "dlx": ("medium", dlx(x)),
        "scikit-learn, float32": ("highest", sklearn(x, np.float32)),
        "scikit-learn, float64": ("highest", sklearn(x, np.float64)),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    with threadpool_limits(1):
        for turn in range(asked.rounds + 3):
            for name, (precision, step) in runs.items():
                torch.set_float32_matmul_precision(precision)
                start = time.process_time()
                for _ in range(5):
                    step()
                if turn >= 3:
                    taken[name].append((time.process_time() - start) / 5)
    table = Table("", "ms a step", "of plain torch", title=f"CD-1, {VISIBLE}-{HIDDEN}, batch {BATCH}, one thread")
    for name, times in taken.items():
        ratio = statistics.median(a / b for a, b in zip(times, taken["plain torch"], strict=True))
        table.add_row(name, f"{1000 * statistics.median(times):.2f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    torch.set_float32_matmul_precision("medium")
    console.print(f"annealed importance sampling: {annealing():.1f} chains of 14,500 temperatures a second")


if __name__ == "__main__":
    main()
