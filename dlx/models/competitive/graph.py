"""Competitive Hebbian learning: the two units nearest to an example become neighbours, and what is not renewed is lost.

T. Martinetz, "Competitive Hebbian learning rule forms perfectly topology preserving maps", ICANN 1993; with ages:
T. Martinetz, K. Schulten, "Topology representing networks", Neural Networks 7, 1994.
"""

import torch
from torch import Tensor


def make_empty_ages(units: int) -> Tensor:
    """Return the ages, (units, units), of a graph without edges: an edge that is not there is infinitely old."""
    return torch.full((units, units), torch.inf)


def edge_mask(ages: Tensor) -> Tensor:
    """Return which edges are there, (units, units) bool."""
    return ages.isfinite()


def count_components(edges: Tensor) -> int:
    """Count in how many parts a graph falls that no edge joins; edges (units, units) bool, symmetric."""
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(edges.cpu().numpy(), directed=False, return_labels=False))


def update_edges(ages: Tensor, pairs: Tensor, lifetimes: Tensor) -> None:
    """Let examples join their two nearest units, one example after the other; changes `ages`, and asks no device.

    The edge of the pair gets age 0; then all edges of the nearest unit grow older by 1, and those beyond their lifetime
    are gone (steps iv to vi of the paper).

    Args:
        ages: (units, units), symmetric.
        pairs: (batch, 2) int64: the nearest unit, and the second.
        lifetimes: (batch,), as they are when each example comes.
    """
    first, second = pairs.split(1, dim=1)
    for i, j, lifetime in zip(first.unbind(), second.unbind(), lifetimes.to(ages).unbind(), strict=True):
        row = ages.index_select(0, i)
        row.index_fill_(1, j, 0.0).add_(1.0)
        row.masked_fill_(row > lifetime, torch.inf)
        ages.index_copy_(0, i, row)
        ages.index_copy_(1, i, row.T)
