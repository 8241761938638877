"""Batches of a dataset: from tensors that live on the device, or from workers where they do not fit."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice, repeat
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.datasets import sources
from dlx.datasets.dataset import Dataset
from dlx.datasets.sequences import buckets
from dlx.datasets.splits import Generated, Part, Split, find_step_layout
from dlx.distributed.group import current_group
from dlx.types import Count, Natural

# One gather for sixteen batches halves the step of a tiny network: what an operator costs to call is paid once.
MAX_CHUNK_BATCHES = 16
MAX_EVAL_SEQUENCES = (
    64  # sequences of different lengths that are evaluated at once: they keep their order, so there is padding
)
MAX_CPU_CHUNK_BYTES = (
    2**22
)  # the same on a processor: scaling 2,048 images of 32×32 at once, beyond its caches, takes twice as long
# Bytes, as float32, of what is evaluated at once on a processor: ResNet-20 takes 0.6 ms for an image of 32×32 by 128
# at once and 1.3 ms by 1,024, whose activations the system takes back, and clears, after every layer.
MAX_CPU_EVAL_BYTES = 2**21


class Loader:
    """Batches whose order depends on `seed` and the epoch alone, wherever the data lies and whatever else is drawn.

    Args:
        dataset: loaded.
        batch: examples in a step, of which each of several processes gets its portion; `full` for all of them in one,
            in their own order.
        device: where batches are needed.
        seed: of the order and of augmentation.
        shuffle: a new order in every epoch; else the split's own.
        drop_last: leave out a last batch that is not full.
        memory: `device` keeps the data there, `stream` brings what each step needs, `auto` asks whether it fits.
        workers: processes that read what does not fit into memory.
        trim: of sequences of different lengths, put those of about one length together, cut each batch to its own
            longest, and tell their lengths; else they stay padded, all to one length, and it is not told.

    Raises:
        UsageError: `memory=device`, and the data does not fit into memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: Count | Literal["full"],
        device: torch.device | str = "cpu",
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        memory: Literal["auto", "device", "stream"] = "auto",
        workers: Natural | Literal["auto"] = "auto",
        trim: bool = True,
    ) -> None:
        self.dataset, self.seed, self.device = dataset, seed, torch.device(device)
        # A dataset with a restored state is read when the first split is asked for: predicting needs none.
        examples = dataset.count_examples("train")
        layout = find_step_layout(dataset.splits["train"]) if dataset.is_read else dataset.step_layout
        self.batch: int = examples if batch == "full" else min(batch, examples)
        self.shuffle = shuffle and batch != "full"
        self.examples = examples // self.batch * self.batch if drop_last else examples  # in an epoch
        self.steps = -(-self.examples // self.batch)
        width = 4 * int(np.prod(dataset.shape or (1,)))
        largest = MAX_CPU_CHUNK_BYTES if self.device.type == "cpu" else sources.MAX_CHUNK_BYTES
        self.group = current_group()
        low, high = self.group.local_range(self.batch)
        self.local_batch = high - low  # examples of a batch in this process
        self.chunk_batches = max(1, min(MAX_CHUNK_BATCHES, largest // max(self.local_batch * width, 1)))
        if self.device.type == "cpu":
            self.eval_batch = min(1024, max(8, MAX_CPU_EVAL_BYTES // width))
        else:
            self.eval_batch = max(min(max(self.batch, 1024), sources.MAX_CHUNK_BYTES // width), 1)
        if layout == "generated":  # each batch has its own length, and its own draws
            self.chunk_batches, self.eval_batch = 1, self.batch
        elif layout == "varying" and trim:  # each batch has its own length
            self.chunk_batches, self.eval_batch = 1, min(self.eval_batch, max(self.batch, MAX_EVAL_SEQUENCES))
        self._trim, self._memory, self._workers = trim, memory, workers
        if dataset.is_read:
            _ = self._sources  # complains at once where memory is short
        self._generator = torch.Generator(self.device)

    @cached_property
    def _lengths(self) -> dict[str, Tensor | None]:
        """The lengths (examples,) of each split's sequences where they differ and batches are cut."""
        splits = self.dataset.splits.items()
        return {name: buckets.get_varying_lengths(part) if self._trim else None for name, part in splits}

    @cached_property
    def _sources(self) -> dict[str, Any]:
        """Where the splits lie."""
        made = {
            name: sources.make_source(
                split if self._trim else _drop_lengths(split),
                self.dataset,
                name == "train",
                self.device,
                self._memory,
                self._workers,
            )
            for name, split in self.dataset.splits.items()
        }
        for name, source in made.items():
            source.lengths = self._lengths[name]
        return made

    def has_split(self, name: str) -> bool:
        """Return whether the dataset has a split of this name."""
        return name in self._sources

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Iterate once over the training split, without its first `start` batches; the others are exactly the same."""
        if start >= self.steps:
            return
        if self.group.world_size > 1:
            yield from self._local_batches(epoch, start)
            return
        yield from self._batches(self._make_order(epoch), self.examples, epoch, start, self.batch)

    def _batches(self, order: Tensor | None, examples: int, epoch: int, start: int, batch: int) -> Iterator[Batch]:
        first = start // self.chunk_batches
        size = batch * self.chunk_batches
        source = self._sources["train"]
        for number, part in enumerate(source.chunks(order, examples, size, first * size), first):
            chunk = source.process_chunk(part, True, self._make_generator(True, 0, epoch, number))
            batches = _split_batches(chunk, batch)
            yield from islice(batches, start - first * self.chunk_batches, None) if number == first else batches

    def _local_batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Yield this process's portion of every batch."""
        portion, left = self.group.local_range, self.examples % self.batch
        if isinstance(self.dataset.splits["train"], Generated):  # every process makes the batch, and takes its portion
            batches = self._batches(None, self.examples, epoch, start, self.batch)
            for batch in batches:
                low, high = portion(len(batch.x))
                yield Batch(*(None if part is None else part[low:high] for part in batch))  # type: ignore[arg-type]
            return
        full, rest = self._split_rows(epoch)
        steps = self.examples // self.batch
        if start < steps:
            for batch in self._batches(full, len(full), epoch, start, self.local_batch):
                portion(self.batch)
                yield batch
        if left:
            portion(left)
            yield from self._batches(rest, len(rest), epoch, 0, len(rest))

    def _split_rows(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return this process's examples: those of the full batches, and those of the last one."""
        order = self._make_order(epoch)
        order = torch.arange(self.examples) if order is None else order[: self.examples]
        lengths = self._lengths["train"]
        if lengths is not None:  # all portions of a batch are cut to one length: networks take as many steps in each
            longest = [part.new_full((len(part),), int(part.max())) for part in lengths[order].split(self.batch)]
            self._sources["train"].lengths = torch.empty_like(lengths).index_copy_(0, order, torch.cat(longest))
        full = self.examples // self.batch * self.batch
        low, high = self.group.local_range(self.batch)
        rows = order[:full].view(-1, self.batch)[:, low:high].flatten()
        low, high = self.group.local_range(self.examples - full) if full < self.examples else (0, 0)
        return rows, order[full:][low:high]

    def split(self, name: str) -> Iterable[Batch]:
        """Return a split in order, without augmentation; it may be iterated again.

        Batches may be larger than in training. Each of several processes sees all of it.
        """
        return _SplitBatches(self, name)

    def _make_order(self, epoch: int) -> Tensor | None:
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed(_derive_seed(self.seed, epoch))
        order, lengths = torch.randperm(len(self.dataset.splits["train"]), generator=generator), self._lengths["train"]
        if lengths is None:
            return order
        return buckets.bucket_by_length(order[: self.examples], lengths, self.batch, generator)

    def _make_generator(self, train: bool, *place: int) -> torch.Generator | None:
        """Return the generator of one chunk's augmentation, or of the chunk itself; None where nothing is drawn."""
        is_generated = isinstance(self.dataset.splits["train"], Generated)
        if train and not is_generated and self.group.rank:  # augmentation: other examples, other draws
            place = (*place, self.group.rank)
        if not (self.dataset.random(train) or is_generated):
            return None
        return self._generator.manual_seed(_derive_seed(self.seed, *place))


class _SplitBatches:
    """A split's batches in order; iterating starts over."""

    def __init__(self, loader: Loader, name: str) -> None:
        self.loader, self.source = loader, loader._sources[name]
        self.examples = len(loader.dataset.splits[name])
        self.place = 1 + list(loader.dataset.splits).index(name)  # what is made for one split is not made for another

    def __iter__(self) -> Iterator[Batch]:
        chunks = self.source.chunks(None, self.examples, self.loader.eval_batch, 0)
        for number, part in enumerate(chunks):
            chunk = self.source.process_chunk(part, False, self.loader._make_generator(False, self.place, number))
            yield Batch(chunk.x, chunk.y, chunk.lengths)


def _drop_lengths(split: Part) -> Part:
    return Split(split.x, split.y) if isinstance(split, Split) else split


def _split_batches(chunk: Split, size: int) -> Iterator[Batch]:
    """Split a chunk into views of `size` examples each: a microsecond a batch."""
    rest = (repeat(None) if part is None else part.split(size) for part in (chunk.y, chunk.lengths))
    return map(Batch, chunk.x.split(size), *rest)


def _derive_seed(*numbers: int) -> int:
    """Derive one 64-bit seed from several numbers; neighbours give unrelated streams."""
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1, np.uint64)[0])
