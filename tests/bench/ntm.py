"""Training steps of the neural Turing machine on the copy task, beside the structure that public implementations have.

    python -m tests.bench.ntm [--rounds 15]

The other one keeps a module for each head and lets automatic differentiation follow every operation of every step; its
shifts are batched, which theirs are not. Both have the same sizes, and take their turns in one process, on one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

WIDTH, LENGTH, HIDDEN, ROWS, ROW = 8, 20, 100, 128, 20


class Head(nn.Module):
    """One head: from the controller's output to a weighting."""

    def __init__(self, writes: bool) -> None:
        super().__init__()
        self.sizes = [ROW, 1, 1, 3, 1] + ([ROW, ROW] if writes else [])
        self.told = nn.Linear(HIDDEN, sum(self.sizes))

    def forward(self, h: Tensor, w: Tensor, memory: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        k, beta, g, s, gamma, *rest = self.told(h).split(self.sizes, 1)
        k, beta, g, s = k.tanh(), F.softplus(beta), g.sigmoid(), s.softmax(1)
        by_content = (beta * F.cosine_similarity(memory, k[:, None], dim=2)).softmax(1)
        w = g * by_content + (1 - g) * w
        w = sum(s[:, j, None] * w.roll(j - 1, 1) for j in range(3))
        w = (w + 1e-16) ** (1 + F.softplus(gamma))
        return w / w.sum(1, keepdim=True), tuple(rest)


class Plain(nn.Module):
    """A feed-forward controller, a head that reads and one that writes."""

    def __init__(self) -> None:
        super().__init__()
        self.controller = nn.Linear(WIDTH + 2 + ROW, HIDDEN)
        self.reads, self.writes = Head(False), Head(True)
        self.readout = nn.Linear(HIDDEN + ROW, WIDTH)
        self.register_buffer("first", torch.randn(ROWS, ROW) * ROW**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        B = len(x)
        memory, r = self.first.expand(B, -1, -1), x.new_zeros(B, ROW)
        w_r = w_w = F.one_hot(torch.zeros(B, dtype=torch.long), ROWS).to(x.dtype)
        scores = []
        for x_t in x.unbind(1):
            h = torch.tanh(self.controller(torch.cat([x_t, r], 1)))
            w_r, _ = self.reads(h, w_r, memory)
            w_w, (e, a) = self.writes(h, w_w, memory)
            r = (w_r[:, None] @ memory)[:, 0]
            memory = memory * (1 - w_w[..., None] * e.sigmoid()[:, None]) + w_w[..., None] * a[:, None]
            scores.append(self.readout(torch.cat([h, r], 1)))
        return torch.stack(scores, 1)


def turn(model: nn.Module, batch: int) -> Callable[[], None]:
    """A training step with clipped gradients and RMSProp, on sequences of the longest length."""
    x = torch.rand(batch, 2 * LENGTH + 1, WIDTH + 2).round()
    y = torch.rand(batch, 2 * LENGTH + 1, WIDTH).round()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-4, momentum=0.9)
    scores = model if isinstance(model, Plain) else lambda x: model.steps(x)[0]

    def step() -> None:
        loss = F.binary_cross_entropy_with_logits(scores(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()

    return step


def main() -> None:
    """Print the table."""
    from dlx.models.recurrent.ntm.ntm import NTM

    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=15)
    rounds = asked.parse_args().rounds
    torch.set_num_threads(1)
    table = Table("", "batch 1", "batch 16", title=f"NTM, copy of {LENGTH} vectors, steps a second (ratio of time)")
    ntm = partial(NTM, [2 * LENGTH + 1, WIDTH + 2], WIDTH, hidden=HIDDEN, rows=ROWS, row=ROW)
    found: dict[str, list[str]] = {"a module for each head, automatic differentiation": [], "dlx": []}
    for batch in (1, 16):
        steps = dict(zip(found, (turn(Plain(), batch), turn(ntm(), batch)), strict=True))
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(rounds + 2):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if number >= 2:
                    taken[name].append(time.perf_counter() - start)
        first = taken[next(iter(taken))]
        for name, times in taken.items():
            ratio = statistics.median(a / b for a, b in zip(times, first, strict=True))
            found[name].append(f"{1 / statistics.median(times):.1f} ({ratio:.2f})")
    for name, cells in found.items():
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
