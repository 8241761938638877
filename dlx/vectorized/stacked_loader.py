"""Batches of all trials: one for all where they see the same data in the same order, else one for each."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.datasets.dataset import Generated
from dlx.datasets.loader import Loader
from dlx.vectorized.not_vectorizable import NotVectorizable


class StackedLoader:
    """The loaders of K trials; those that are alike are one and the same object.

    Args:
        loaders: of each trial.

    Raises:
        Unstacked: their batches cannot be put together.
    """

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.loaders = list(dict.fromkeys(loaders))
        self.places = [self.loaders.index(loader) for loader in loaders]
        self.own = len(self.loaders) > 1
        first = self.loaders[0]
        for loader in self.loaders:
            if any(lengths is not None for lengths in loader._lengths.values()):
                raise NotVectorizable("their sequences have different lengths")
            if isinstance(loader.dataset.splits["train"], Generated):
                raise NotVectorizable("their data are made anew for each batch")
            if _get_split_sizes(loader) != _get_split_sizes(first):
                raise NotVectorizable("their data have different sizes")

    def train(self, epoch: int) -> Iterator[Batch]:
        """One pass; batches as `Stack` wants them."""
        return self._together([loader.train(epoch) for loader in self.loaders])

    def split(self, name: str) -> Iterator[Batch]:
        """A split in order."""
        return self._together([loader.split(name) for loader in self.loaders])

    def _together(self, passes: Sequence[Iterable[Batch]]) -> Iterator[Batch]:
        if not self.own:
            yield from passes[0]
            return
        for batches in zip(*passes, strict=True):
            x, y, lengths = (self._stacked(parts) for parts in zip(*batches, strict=True))
            assert x is not None
            yield Batch(x, y, lengths)

    def _stacked(self, parts: Sequence[Tensor | None]) -> Tensor | None:
        """(K, batch, …) of what each stream has."""
        if parts[0] is None:
            return None
        return torch.stack([parts[place] for place in self.places])  # type: ignore[misc]


def _get_split_sizes(loader: Loader) -> dict[str, int]:
    return {name: len(split) for name, split in loader.dataset.splits.items()}
