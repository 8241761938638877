"""Auxiliary heads beside a network's main one, in training mode.

C. Szegedy et al., "Going deeper with convolutions", 2014, https://arxiv.org/abs/1409.4842, §5: heads on inner layers
bring the gradient to where it would fade; evaluation leaves them out.
"""

from typing import Any, NamedTuple

from torch import Tensor


class Heads(NamedTuple):
    """What a model's `forward` returns in training mode where it has auxiliary heads; in evaluation it returns scores.

    The loss is loss(scores) + weight Σ loss(auxiliary).
    """

    scores: Tensor  # (batch, outputs)
    auxiliary: tuple[Tensor, ...]  # (batch, outputs) each
    weight: float


def list_weighted_scores(output: Any) -> list[tuple[float, Tensor]]:
    """Return all scores of a forward pass with their weights in the loss, the main ones first."""
    if isinstance(output, Heads):
        return [(1.0, output.scores), *((output.weight, scores) for scores in output.auxiliary)]
    return [(1.0, output)]
