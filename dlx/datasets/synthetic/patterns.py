"""Patterns to be stored: random signs, or random numbers, as alike as one wants."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Split, Stream
from dlx.types import Count, Fraction


class Patterns(Dataset):
    """Random patterns without labels. The three splits are the same: a memory is asked for what it stored.

    Args:
        neurons: elements of a pattern.
        patterns: how many.
        correlation: ⟨x_i y_i⟩ of any two of them, by a parent that they resemble; 0 for independent ones.
        values: `signs`, each -1 or 1 with equal probability, or `normal`, of mean 0 and variance 1.
        shape, classes, outputs, seed, limit: as in `Dataset`.
    """

    kind = "vector"

    def __init__(
        self,
        neurons: Count = 1000,
        patterns: Count = 100,
        correlation: Fraction = 0.0,
        values: Literal["signs", "normal"] = "signs",
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val=0.0, test=0.0)
        self.neurons, self.values, self.correlation = neurons, values, correlation
        self.patterns = min(patterns, limit or patterns)  # here, so that the splits stay the same

    def read(self) -> dict[str, Split | Stream]:
        generator = torch.Generator().manual_seed(self.seed)
        parent = self._draw(1, generator)
        x = self._draw(self.patterns, generator)
        if self.correlation and self.values == "signs":
            # Each element is the parent's with probability (1 + √c)/2, so that two agree with (1 + c)/2.
            like = torch.rand(x.shape, generator=generator) < (1 + math.sqrt(self.correlation)) / 2
            x = parent * (2 * like - 1)
        elif self.correlation:
            x = math.sqrt(self.correlation) * parent + math.sqrt(1 - self.correlation) * x
        return {name: Split(x.clone()) for name in ("train", "val", "test")}

    def _draw(self, patterns: int, generator: torch.Generator) -> Tensor:
        if self.values == "normal":
            return torch.randn(patterns, self.neurons, generator=generator)
        return 2.0 * torch.randint(0, 2, (patterns, self.neurons), generator=generator) - 1
