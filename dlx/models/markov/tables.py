"""Tables of probabilities, row by row: how they begin, and how counts fill them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_random_rows(rows: int, columns: int) -> Tensor:
    """Draw (rows, columns), float64, from the flat Dirichlet distribution: equal rows would stay equal under EM."""
    drawn = torch.empty(rows, columns, dtype=torch.float64).exponential_()
    return drawn / drawn.sum(1, keepdim=True)


def apply_topology(topology: str, start: Tensor, rows: Tensor, stay: float, jumps: int) -> tuple[Tensor, Tensor]:
    """Return the first start (S,) and transitions (S, S) of a topology, zero where it has none.

    Args:
        topology: `ergodic` or `left_to_right`.
        start: (S,), random.
        rows: (S, S), random.
        stay: probability of each state's own.
        jumps: of a left-to-right model, how many states forward.
    """
    S = len(start)
    if topology == "left_to_right":
        start = torch.eye(S, dtype=start.dtype)[0]
        ahead = torch.arange(S)[None, :] - torch.arange(S)[:, None]
        rows = rows * ((ahead > 0) & (ahead <= jumps))
        rows = rows / rows.sum(1, keepdim=True).clamp(min=1e-300)
    moved = stay * torch.eye(S, dtype=rows.dtype) + (1 - stay) * rows
    return start, moved / moved.sum(1, keepdim=True)


def maximize_rows(log_table: Tensor, counts: Tensor, prior: float = 1.0) -> None:
    """Make each row of probabilities (..., K) as likely as it can be.

    Args:
        log_table: in place; what is -∞ stays it, and so does a row that counts nothing.
        counts: (..., K).
        prior: α of the Dirichlet prior.
    """
    counts = torch.where(log_table > -torch.inf, (counts + (prior - 1)).clamp(min=0), 0.0)
    total = counts.sum(-1, keepdim=True)
    log_table.copy_(torch.where(total > 0, (counts / total.clamp(min=1e-300)).log(), log_table))


def log_dirichlet_prior(log_table: Tensor, prior: float) -> Tensor:
    """Return the logarithm of the Dirichlet density of a table's rows, up to a constant, 0-d."""
    if prior == 1:
        return log_table.new_zeros(())
    return (prior - 1) * log_table[log_table > -torch.inf].sum()


def draw_transitions(table: Tensor, names: Sequence[str] | None = None) -> Tensor:
    """Return a picture (3, H, W) of transitions (S, S) between states, by their names where they have any."""
    from dlx.figures.heat import heat

    return heat(table, "p(next state | state)", "next state", "state", names, names)
