"""Sequences of different lengths as one tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def pad_sequences(sequences: Sequence[Tensor], steps: int | None = None, value: float = 0) -> tuple[Tensor, Tensor]:
    """Pad sequences (T_i, ...) to x (n, T, ...), with `value` after each, and return it and their lengths (n,).

    Args:
        sequences: at least one, alike but for their lengths.
        steps: T; None takes the longest's.
        value: of the padding.
    """
    x = pad_sequence(list(sequences), batch_first=True, padding_value=value)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return (x if steps is None or steps == x.shape[1] else pad_to(x, steps, value)), lengths


def concatenate(parts: Sequence[Tensor], value: float = 0) -> Tensor:
    """Concatenate batches (batch, ...); sequences (batch, T, ...) are padded to the longest."""
    longest = max(part.shape[1] if part.ndim > 1 else 0 for part in parts)
    return torch.cat(
        [part if part.ndim < 2 or part.shape[1] == longest else pad_to(part, longest, value) for part in parts]
    )


def pad_to(x: Tensor, steps: int, value: float = 0) -> Tensor:
    """Pad sequences (batch, T, ...) to so many steps, `value` after their own."""
    return torch.cat((x, x.new_full((len(x), steps - x.shape[1], *x.shape[2:]), value)), 1)
