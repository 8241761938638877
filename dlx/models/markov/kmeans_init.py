"""Where the emissions of a model of vectors begin: at the centres of the training data's steps."""

import torch
from torch import Tensor

MAX_STEPS = 20_000  # steps that are looked at


def select_steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps (N, D) of sequences x (batch, T, D), without the zeros that pad them, and the place of each.

    Lengths are not told here: steps after a sequence's last one that is not all zeros count as padding. What is learned
    from is not affected, only where learning begins.
    """
    T = x.shape[1]
    index = torch.arange(T, device=x.device)
    lengths = ((x != 0).any(2) * (index + 1)).amax(1).clamp(min=1)
    inside = index < lengths[:, None]
    place = (index / lengths[:, None])[inside]  # in [0, 1)
    steps = x[inside].double()
    stride = -(-len(steps) // MAX_STEPS)
    return steps[::stride], place[::stride]


def fit_kmeans(x: Tensor, k: int, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """Return k means (k, D) of x (N, D), by k-means++ and `rounds` of Lloyd's algorithm, and whose each x is, (N,)."""
    chosen = [x[torch.randint(len(x), ())]]
    distance = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)  # to the nearest of the chosen, squared
    while len(chosen) < k:
        distance = torch.minimum(distance, (x - chosen[-1]).square().sum(1))
        left = distance if float(distance.sum()) > 0 else torch.ones_like(distance)
        chosen.append(x[torch.multinomial(left, 1)[0]])
    means = torch.stack(chosen)
    for _ in range(rounds):
        own = torch.cdist(x, means).argmin(1)
        count = torch.bincount(own, minlength=k)[:, None]
        sums = torch.zeros_like(means).index_add_(0, own, x)
        means = torch.where(count > 0, sums / count.clamp(min=1), means)
    return means, torch.cdist(x, means).argmin(1)


def assign_states(x: Tensor, place: Tensor, states: int, topology: str) -> Tensor:
    """Return which state each step x (N, D) begins with, (N,): by likeness, or by its place from left to right."""
    if topology == "left_to_right":
        return (place * states).long().clamp(max=states - 1)
    return fit_kmeans(x, states)[1]


def compute_state_means(x: Tensor, own: Tensor, states: int) -> Tensor:
    """Return the mean (states, D) of the steps x (N, D) of each state; that of all where it has none."""
    count = torch.bincount(own, minlength=states)[:, None]
    sums = torch.zeros(states, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, own, x)
    return torch.where(count > 0, sums / count.clamp(min=1), x.mean(0))
