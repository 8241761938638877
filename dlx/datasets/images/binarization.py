"""Static binarization: every intensity becomes black or white once, by a draw that its seed alone decides.

H. Larochelle and I. Murray published one such draw of MNIST with "The Neural Autoregressive Distribution Estimator",
AISTATS 2011; ours is another, and figures on the two differ by what one draw differs from another.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlx.datasets.splits import Generated, Part, Split, Stream


def binarize_split(part: Part, levels: float, seeds: tuple[int, ...]) -> Part:
    """Replace a split's intensities by 0 or `levels`, the latter with probability intensity / levels.

    Args:
        part: in memory, or to be read, in which case each example is drawn by its own place.
        levels: the intensity that stands for 1.
        seeds: what the draw depends on.
    """
    if isinstance(part, Split):
        return Split(sample_binary(part.x, levels, _make_generator(*seeds)), part.y, part.lengths)
    if isinstance(part, Generated):
        return part
    return Stream(_BinarizedDataset(part.data, levels, seeds), part.y)


def sample_binary(x: Tensor, levels: float, generator: torch.Generator) -> Tensor:
    """Draw 0 or `levels` for each element of x (n, ...), of the same type; those that are so already stay."""
    parts = []
    for chunk in x.split(4096):
        u = torch.rand(chunk.shape, generator=generator, device=x.device)
        parts.append((u < chunk.float() / levels).to(x.dtype) * levels)
    return torch.cat(parts).to(x.dtype) if parts else x


def _make_generator(*seeds: int) -> torch.Generator:
    state = np.random.SeedSequence([seed % 2**64 for seed in seeds]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class _BinarizedDataset(torch.utils.data.Dataset[Any]):
    """A map-style dataset of (x, y) whose examples are drawn as they are read, the same at every reading."""

    def __init__(self, data: Any, levels: float, seeds: tuple[int, ...]) -> None:
        self.data, self.levels, self.seeds = data, levels, seeds

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, Any]:
        x, y = self.data[row]
        return sample_binary(x[None], self.levels, _make_generator(*self.seeds, row))[0], y
