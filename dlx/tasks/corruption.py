"""Corrupt patterns: the same pattern gets the same corruption, in whatever batch and on whatever device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlx.types import NonNegative, Probability

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: its multiples are spread evenly


@dataclass(frozen=True)
class Corruption:
    """Make cues of patterns, whose states reach from -1 to 1.

    Args:
        flip: part of the units whose sign is turned round: exactly so many, drawn for each pattern.
        mask: part of the units of which the cue says nothing: the last ones, for images the lowest rows.
        noise: standard deviation of what is added to each unit.
        seed: of the draws, which depend on nothing else but the pattern.
    """

    flip: Probability = 0.0
    mask: Probability = 0.0
    noise: NonNegative = 0.0
    seed: int = 0

    def __call__(self, states: Tensor, shape: Sequence[int]) -> Tensor:
        """Make cues of the patterns `states`, (batch, N), for examples of `shape`, whose sizes multiply to N."""
        cues = states.clone()
        N = states.shape[1]
        if self.flip:
            chosen = hash_uniform(states, self.seed).argsort(dim=1, stable=True)[:, : round(self.flip * N)]
            cues.scatter_(1, chosen, -states.gather(1, chosen))
        if self.noise:
            radius = (-2 * (1 - hash_uniform(states, self.seed + 1)).log()).sqrt()  # Box and Muller, 1958
            normal = radius * (2 * math.pi * hash_uniform(states, self.seed + 2)).cos()
            cues += self.noise * normal.to(cues.dtype)
        if self.mask:
            rows = cues.view(len(cues), *(shape if len(shape) == 3 else (1, N, 1)))  # (batch, channels, rows, columns)
            rows[:, :, rows.shape[2] - round(self.mask * rows.shape[2]) :] = 0
        return cues


def hash_uniform(x: Tensor, seed: int) -> Tensor:
    """Draw a number in [0, 1) for each element of x (batch, N), float64, by its row, its place and the seed alone.

    Hashes in place of a generator, whose numbers would depend on what was drawn before for other rows.
    """
    place = torch.arange(x.shape[1], device=x.device)
    content = mix_bits(x.double().view(torch.int64) + mix_bits(place)).sum(1, keepdim=True)
    bits = mix_bits(content + mix_bits(place + wrap_int64(seed * GOLDEN)))
    return (bits >> 11 & 2**53 - 1).double() / 2**53


def mix_bits(z: Tensor) -> Tensor:
    """Scatter int64 integers of any shape by splitmix64's finalizer (Steele, Lea, Flood 2014), modulo 2^64."""
    z = z * wrap_int64(GOLDEN)
    z = (z ^ (z >> 30 & 2**34 - 1)) * wrap_int64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27 & 2**37 - 1)) * wrap_int64(0x94D049BB133111EB)
    return z ^ (z >> 31 & 2**33 - 1)


def wrap_int64(number: int) -> int:
    """Wrap a number modulo 2^64 into int64's range."""
    return (number + 2**63) % 2**64 - 2**63
