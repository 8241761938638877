"""Hidden states as they arise, and how much a loss depends on each: the picture of the vanishing gradient.

J. Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", 1991; Y. Bengio, P. Simard, P. Frasconi, "Learning
long-term dependencies with gradient descent is difficult", IEEE Trans. Neural Networks 5, 1994.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def flip(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Flip x (batch, T, …) in time; of a sequence of n steps the first n, so that padding stays at the end."""
    if lengths is None:
        return x.flip(1)
    t = torch.arange(x.shape[1], device=x.device)
    back = torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)  # (batch, T)
    return x[torch.arange(x.shape[0], device=x.device)[:, None], back]


class _States(NamedTuple):
    letter: str
    layer: int
    backward: bool  # in time, from a sequence's end
    lengths: Tensor | None
    nodes: tuple[Tensor, ...]  # (batch, …) each, in the order in which they were computed


class Trace:
    """The states of one pass through a network.

    Each is a node of the graph through which everything later was computed, so the gradient with respect to it is the
    total derivative, through the recurrence.
    """

    def __init__(self) -> None:
        self.states: list[_States] = []

    def add(
        self,
        states: Sequence[Sequence[Tensor]],
        backward: bool = False,
        lengths: Tensor | None = None,
        letters: str = "hc",
    ) -> None:
        """Note the states of the next layer, step by step: h, and for an LSTM c, (batch, …) each.

        Args:
            states: in the order in which they were computed.
            backward: whether that was from the end of each sequence.
            lengths: of the sequences.
            letters: what the states are called.
        """
        for letter, nodes in zip(letters, zip(*states, strict=True), strict=False):
            layer = 1 + sum((letter, backward) == (known.letter, known.backward) for known in self.states)
            self.states.append(_States(letter, layer, backward, lengths, nodes))

    def gradient_norms(self, loss: Tensor) -> dict[str, Tensor]:
        """Return ‖∂loss/∂h_t‖, over batch and units, of each step t; 0 where the loss does not depend on it.

        Returns:
            (T,) by name: `h`, `c`, `M`, `h backward`, with the layer's number where there are several; uppermost first.
        """
        flat = [node for states in self.states for node in states.nodes]
        gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
        norms = []
        for states in self.states:
            grads = torch.stack([next(gradients).flatten(1) for _ in states.nodes], 1)  # (batch, T, size)
            grads = flip(grads, states.lengths) if states.backward else grads
            largest = grads.abs().amax((0, 2)).clamp(min=torch.finfo(grads.dtype).tiny)  # squares would vanish sooner
            norms.append(largest * torch.linalg.vector_norm(grads / largest[:, None], dim=(0, 2)))
        top = max(states.layer for states in self.states)
        pairs = sorted(zip(self.states, norms, strict=True), key=lambda pair: -pair[0].layer)
        return {
            f"{states.letter}{states.layer if top > 1 else ''}{' backward' * states.backward}": norm
            for states, norm in pairs
        }
