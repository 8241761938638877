"""Inference in hidden Markov models, over batches of sequences of unequal length: scaled forward-backward.

L. R. Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition", Proceedings of the
IEEE 77, 1989, https://doi.org/10.1109/5.18626, section V.A: probabilities are normalised at each step, so that long
sequences do not underflow. Emissions come relative to the likeliest state's, so that unlikely observations do not.

What is left is a state that falls below what a number can hold and would have mattered later. The passes show it: a
step's scale is then tiny, or what follows is far likelier from some state than from the past (`Smoothed.peak`). Such
sequences belong into `log_space`.

Sequences are packed as torch packs them for its recurrent networks: step after step, the longest first, so that step t
of all the sequences that reach it is one matrix and padding costs nothing. S states, T steps, N steps of all sequences.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

# Where what was lost may begin to count. A step's scale and its inverse, and their products, stay representable, and
# what fell below the smallest number is less than a part in 1e20 of anything.
SMALLEST = {torch.float64: 1e-100, torch.float32: 1e-15}


class Workspace:
    """Matrices that are written anew for every batch: the system clears what it hands out, which takes as long."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def matrix(self, name: str, rows: int, columns: int, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return (rows, columns) on the device of `like`, holding anything; the last of this name is overwritten."""
        flat = self.buffers.get(name)
        if flat is None or flat.dtype != dtype or flat.device != like.device or len(flat) < rows * columns:
            flat = self.buffers[name] = torch.empty(rows * columns, dtype=dtype, device=like.device)
        return flat[: rows * columns].view(rows, columns)


class Filtered(NamedTuple):
    """What each step's past says of its state."""

    states: Tensor  # (N, S): p(z_t | x_1..x_t)
    emission: Tensor  # (N, S): p(x_t | z_t) / p(x_t | x_1..x_t-1)
    scale: Tensor  # (N, 1): p(x_t | x_1..x_t-1), in units of the likeliest state's emission


class Inference(NamedTuple):
    """What some of a batch's sequences say."""

    rows: Tensor  # which of the batch's
    lengths: Tensor  # (rows,)
    steps: PackedSequence
    scale: Tensor  # (N, 1): log p(x_t | x_1..x_t-1)
    states: Tensor  # (N, S): p(z_t | x), or nothing of use where no smoothing was asked for
    transitions: Tensor  # (S, S)


class Smoothed(NamedTuple):
    """What whole sequences say of their states."""

    states: Tensor  # (N, S): p(z_t | x)
    transitions: Tensor  # (S, S): expected transitions, summed over time and sequences
    peak: Tensor | None  # (sequences,), longest first: the largest p(x_t+1..x_T | z_t) / p(x_t+1..x_T | x_1..x_t)


def pack(x: Tensor, lengths: Tensor | None) -> PackedSequence:
    """Pack sequences x (batch, T, ...), padded beyond `lengths` (batch,), as steps (N, ...)."""
    if lengths is None:
        lengths = torch.full(x.shape[:1], x.shape[1])
    return pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)


def unpack(values: Tensor, steps: PackedSequence, longest: int | None = None) -> Tensor:
    """Unpack values (N, ...) of packed steps as (batch, T, ...), zero beyond each length."""
    return pad_packed_sequence(steps._replace(data=values), batch_first=True, total_length=longest)[0]


def unsort(values: Tensor, steps: PackedSequence) -> Tensor:
    """Put values (batch, ...), longest sequence first, in the batch's own order."""
    return values if steps.unsorted_indices is None else values[steps.unsorted_indices]


def packed_lengths(steps: PackedSequence) -> Tensor:
    """Return the lengths (batch,) of packed sequences, in the batch's own order."""
    sizes = steps.batch_sizes
    return unsort((sizes[:, None] > torch.arange(int(sizes[0]))).sum(0).to(steps.data.device), steps)


def sort_weights(weight: Tensor | None, rows: Tensor, steps: PackedSequence, dtype: torch.dtype) -> Tensor | None:
    """Sort weights of the batch's sequences, (rows, 1), longest first."""
    if weight is None:
        return None
    own = weight[rows] if steps.sorted_indices is None else weight[rows][steps.sorted_indices]
    return own[:, None].to(dtype)


def time_slices(steps: PackedSequence) -> list[slice]:
    """Return where each time's steps lie."""
    sizes = steps.batch_sizes.tolist()
    ends = steps.batch_sizes.cumsum(0).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def forward(start: Tensor, transition: Tensor, emission: Tensor, states: Tensor, parts: Sequence[slice]) -> Filtered:
    """Filter (Rabiner eqs. 19-20 and 91-92).

    Args:
        start: (S,).
        transition: (S, S), from row to column.
        emission: (N, S), p(x_t | z_t) over the likeliest state's; its memory becomes the result's.
        states: (N, S), memory for the result.
        parts: from `time_slices`.
    """
    scale = emission.new_empty(len(emission), 1)
    for t, here in enumerate(parts):
        alpha, c = states[here], scale[here]
        if t == 0:
            alpha[:] = start
        else:
            torch.mm(states[parts[t - 1]][: len(alpha)], transition, out=alpha)
        alpha *= emission[here]
        torch.sum(alpha, 1, keepdim=True, out=c)
        alpha /= c
    return Filtered(states, emission.div_(scale), scale)


def backward(
    transition: Tensor, past: Filtered, parts: Sequence[slice], watch: bool = False, weight: Tensor | None = None
) -> Smoothed:
    """Smooth (Rabiner eqs. 24-27 and 37).

    Args:
        transition: (S, S).
        past: from `forward`; its memory is used.
        parts: from `time_slices`.
        watch: find the peaks too.
        weight: (sequences, 1), longest first: how much the transitions of each count; None for 1.
    """
    states, back = past.states, transition.T.contiguous()
    beta = torch.ones_like(states[parts[0]])  # of the sequences that are over, still 1
    peak = torch.ones_like(beta) if watch else None
    pairs = torch.zeros_like(transition)
    for here, after in zip(parts[-2::-1], parts[:0:-1], strict=True):
        future = past.emission[after]
        future *= beta[: len(future)]
        past_states = states[here][: len(future)]  # not yet smoothed
        pairs.addmm_((past_states if weight is None else past_states * weight[: len(future)]).T, future)
        torch.mm(future, back, out=beta[: len(future)])
        if peak is not None:
            torch.maximum(peak, beta, out=peak)
        states[here] *= beta[: here.stop - here.start]
    return Smoothed(states, pairs * transition, None if peak is None else peak.amax(1))
