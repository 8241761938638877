"""Load the batches of all trials: one for all where they see the same data in the same order, else one for each."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.datasets.loader import Loader
from dlx.datasets.splits import Generated
from dlx.vectorized.not_vectorizable import NotVectorizable


class StackedLoader:
    """The loaders of K trials; trials of the same data share one loader object.

    Args:
        loaders: one for each trial.

    Raises:
        NotVectorizable: their batches cannot be stacked.
    """

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.loaders = list(dict.fromkeys(loaders))
        self.indices = [self.loaders.index(loader) for loader in loaders]
        self.per_trial = len(self.loaders) > 1
        first = self.loaders[0]
        for loader in self.loaders:
            if any(lengths is not None for lengths in loader._lengths.values()):
                raise NotVectorizable("their sequences have different lengths")
            if isinstance(loader.dataset.splits["train"], Generated):
                raise NotVectorizable("their data are made anew for each batch")
            if _get_split_sizes(loader) != _get_split_sizes(first):
                raise NotVectorizable("their data have different sizes")

    def train(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, as `Stack` takes them."""
        return self._stack_batches([loader.train(epoch) for loader in self.loaders])

    def split(self, name: str) -> Iterator[Batch]:
        """Yield the batches of a split, in order."""
        return self._stack_batches([loader.split(name) for loader in self.loaders])

    def _stack_batches(self, passes: Sequence[Iterable[Batch]]) -> Iterator[Batch]:
        """Yield the loaders' batches, stacked where there are several."""
        if not self.per_trial:
            yield from passes[0]
            return
        for batches in zip(*passes, strict=True):
            x, y, lengths = (self._stack(parts) for parts in zip(*batches, strict=True))
            assert x is not None
            yield Batch(x, y, lengths)

    def _stack(self, parts: Sequence[Tensor | None]) -> Tensor | None:
        """Stack one part of the loaders' batches, (K, batch, …)."""
        if parts[0] is None:
            return None
        return torch.stack([parts[index] for index in self.indices])  # type: ignore[misc]


def _get_split_sizes(loader: Loader) -> dict[str, int]:
    """Return how many examples each split has."""
    return {name: len(split) for name, split in loader.dataset.splits.items()}
