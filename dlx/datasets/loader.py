"""Batches of a dataset: from tensors that live on the device, or from workers where they do not fit."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dlx.batch import Batch
from dlx.datasets import buckets
from dlx.datasets.dataset import Dataset, Generated, Part, Split, Stream
from dlx.distribution.group import here
from dlx.errors import UsageError
from dlx.types import Count, Natural

# One gather for sixteen batches halves the step of a tiny network: what an operator costs to call is paid once.
GATHERED = 16
LARGEST = 2**26  # bytes, as float32, of what is gathered at once on an accelerator
UNSORTED = 64  # sequences of different lengths that are evaluated at once: they keep their order, so there is padding
CACHED = 2**22  # the same on a processor: scaling 2,048 images of 32×32 at once, beyond its caches, takes twice as long
# Bytes, as float32, of what is evaluated at once on a processor: ResNet-20 takes 0.6 ms for an image of 32×32 by 128
# at once and 1.3 ms by 1,024, whose activations the system takes back, and clears, after every layer.
EVALUATED = 2**21


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
        examples = len(dataset.splits["train"])
        self.batch: int = examples if batch == "full" else min(batch, examples)
        self.shuffle = shuffle and batch != "full"
        self.examples = examples // self.batch * self.batch if drop_last else examples  # in an epoch
        self.steps = -(-self.examples // self.batch)
        width = 4 * int(np.prod(dataset.shape or (1,)))
        largest = CACHED if self.device.type == "cpu" else LARGEST
        self.group = here()
        low, high = self.group.portion(self.batch)
        self.own = high - low  # examples of a batch in this process
        self.gathered = max(1, min(GATHERED, largest // max(self.own * width, 1)))
        if self.device.type == "cpu":
            self.evaluated = min(1024, max(8, EVALUATED // width))
        else:
            self.evaluated = max(min(max(self.batch, 1024), LARGEST // width), 1)
        self._lengths = {name: buckets.different(part) if trim else None for name, part in dataset.splits.items()}
        if isinstance(dataset.splits["train"], Generated):  # each batch has its own length, and its own draws
            self.gathered, self.evaluated = 1, self.batch
        elif self._lengths["train"] is not None:  # each batch has its own length
            self.gathered, self.evaluated = 1, min(self.evaluated, max(self.batch, UNSORTED))
        self._sources = {
            name: _source(_told(split, trim), dataset, name == "train", self.device, memory, workers)
            for name, split in dataset.splits.items()
        }
        for name, source in self._sources.items():
            source.lengths = self._lengths[name]
        self._generator = torch.Generator(self.device)

    def has(self, name: str) -> bool:
        """Whether the dataset has a split of this name."""
        return name in self._sources

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """One pass over the training split, without its first `start` batches; the others are exactly the same."""
        if start >= self.steps:
            return
        if self.group.world > 1:
            yield from self._portions(epoch, start)
            return
        yield from self._batches(self._order(epoch), self.examples, epoch, start, self.batch)

    def _batches(self, order: Tensor | None, examples: int, epoch: int, start: int, batch: int) -> Iterator[Batch]:
        first = start // self.gathered
        size = batch * self.gathered
        source = self._sources["train"]
        for number, part in enumerate(source.chunks(order, examples, size, first * size), first):
            ready = source.ready(part, True, self._draws(True, 0, epoch, number))
            batches = _cut(ready, batch)
            yield from islice(batches, start - first * self.gathered, None) if number == first else batches

    def _portions(self, epoch: int, start: int) -> Iterator[Batch]:
        """This process's portion of every batch."""
        portion, left = self.group.portion, self.examples % self.batch
        if isinstance(self.dataset.splits["train"], Generated):  # every process makes the batch, and takes its portion
            batches = self._batches(None, self.examples, epoch, start, self.batch)
            for batch in batches:
                low, high = portion(len(batch.x))
                yield Batch(*(None if part is None else part[low:high] for part in batch))  # type: ignore[arg-type]
            return
        full, rest = self._rows(epoch)
        steps = self.examples // self.batch
        if start < steps:
            for batch in self._batches(full, len(full), epoch, start, self.own):
                portion(self.batch)
                yield batch
        if left:
            portion(left)
            yield from self._batches(rest, len(rest), epoch, 0, len(rest))

    def _rows(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Which examples those of the full batches are, and those of the last one."""
        order = self._order(epoch)
        order = torch.arange(self.examples) if order is None else order[: self.examples]
        lengths = self._lengths["train"]
        if lengths is not None:  # all portions of a batch are cut to one length: networks take as many steps in each
            longest = [part.new_full((len(part),), int(part.max())) for part in lengths[order].split(self.batch)]
            self._sources["train"].lengths = torch.empty_like(lengths).index_copy_(0, order, torch.cat(longest))
        full = self.examples // self.batch * self.batch
        low, high = self.group.portion(self.batch)
        rows = order[:full].view(-1, self.batch)[:, low:high].flatten()
        low, high = self.group.portion(self.examples - full) if full < self.examples else (0, 0)
        return rows, order[full:][low:high]

    def split(self, name: str) -> Iterable[Batch]:
        """A split in order, without augmentation; it may be iterated again. Batches may be larger than in training.

        Each of several processes sees all of it.
        """
        return _InOrder(self, name)

    def _order(self, epoch: int) -> Tensor | None:
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
        order, lengths = torch.randperm(len(self.dataset.splits["train"]), generator=generator), self._lengths["train"]
        if lengths is None:
            return order
        return buckets.bucketed(order[: self.examples], lengths, self.batch, generator)

    def _draws(self, train: bool, *place: int) -> torch.Generator | None:
        """The generator of one chunk's augmentation, or of the chunk itself; None where nothing is drawn."""
        made = isinstance(self.dataset.splits["train"], Generated)
        if train and not made and self.group.rank:  # augmentation: other examples, other draws
            place = (*place, self.group.rank)
        drawn = self.dataset.random(train) or made
        return self._generator.manual_seed(_mix(self.seed, *place)) if drawn else None


class _InOrder:
    """A split's batches, as often as one asks."""

    def __init__(self, loader: Loader, name: str) -> None:
        self.loader, self.source = loader, loader._sources[name]
        self.examples = len(loader.dataset.splits[name])
        self.place = 1 + list(loader.dataset.splits).index(name)  # what is made for one split is not made for another

    def __iter__(self) -> Iterator[Batch]:
        chunks = self.source.chunks(None, self.examples, self.loader.evaluated, 0)
        for number, part in enumerate(chunks):
            ready = self.source.ready(part, False, self.loader._draws(False, self.place, number))
            yield Batch(ready.x, ready.y, ready.lengths)


class _Source:
    """Chunks of a split, and how they are made ready for a model."""

    transform: Callable[..., Tensor]
    lengths: Tensor | None = None  # on the processor, where sequences differ in length: what to cut asks no device

    def ready(self, part: Split, train: bool, generator: torch.Generator | None) -> Split:
        """A chunk as a model sees it."""
        return Split(self.transform(part.x, train, generator), part.y, part.lengths)

    def needed(self, split: Split, rows: Tensor) -> Split:
        """A split as far as these rows' sequences reach."""
        return split if self.lengths is None else buckets.cut(split, buckets.longest(self.lengths[rows]))


class _Resident(_Source):
    """A split on the device. What its transform would compute again for each batch is computed once, if small."""

    def __init__(self, split: Split, dataset: Dataset, train: bool, device: torch.device) -> None:
        self.split = _to(split, device)
        self.transform = dataset.transform
        if not dataset.random(train) and 4 * split.x.numel() <= LARGEST:
            self.split = Split(dataset.transform(self.split.x, train, None), self.split.y, self.split.lengths)
            self.transform = _same

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """Examples start, …, examples - 1 of an order (None: as they stand), `size` at a time."""
        if order is None:
            yield from _slices(self.split, examples, size, start, self.lengths)
            return
        order = order[start:examples]
        here = order.split(size)
        for rows, index in zip(here, order.to(self.split.x.device).split(size), strict=True):
            yield self.needed(self.split, rows).take(index)


class _Host(_Source):
    """A split in main memory: each chunk is gathered there and copied while the device is still computing."""

    def __init__(self, split: Split, dataset: Dataset, device: torch.device) -> None:
        self.split, self.transform, self.device = split, dataset.transform, device

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """As `_Resident.chunks`."""
        if order is None:
            parts: Iterable[Split] = _slices(self.split, examples, size, start, self.lengths)
        else:
            parts = (self.needed(self.split, rows).take(rows) for rows in order[start:examples].split(size))
        for part in parts:
            yield _to(part, self.device, pin=self.device.type == "cuda")


class _Streamed(_Source):
    """A split that worker processes read, chunk by chunk."""

    def __init__(self, stream: Stream, dataset: Dataset, device: torch.device, workers: int) -> None:
        self.transform, self.device = dataset.transform, device
        self.plan: list[list[int]] = []  # rows of each chunk, refilled for every pass
        # Workers live for one pass: kept, those of three splits would sit in memory together, and a pass that is
        # abandoned half way would be waited for.
        self.loader = DataLoader(
            _Rows(stream.data),
            batch_sampler=self.plan,
            num_workers=workers,
            collate_fn=_same,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else the loader would draw from the global one at every pass
        )

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """As `_Resident.chunks`."""
        rows = torch.arange(examples) if order is None else order[:examples]
        self.plan[:] = [part.tolist() for part in rows[start:].split(size)]
        for got in self.loader:
            if isinstance(got, UsageError):
                raise got
            yield _to(Split(*got), self.device)


class _Made(_Source):
    """A split that is made on the device, a batch at a time."""

    def __init__(self, split: Generated) -> None:
        self.make = split.make

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[int]:
        """How many examples each chunk has, from `start` on."""
        return (min(size, examples - low) for low in range(start, examples, size))

    def ready(self, part: Any, train: bool, generator: torch.Generator | None) -> Split:
        """So many examples, by this generator."""
        assert generator is not None
        return self.make(part, generator)


class _Rows(torch.utils.data.Dataset[Any]):
    """Whole chunks of a map-style dataset. A bad file comes back as its error: workers would wrap it in a traceback."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor | None] | UsageError:
        try:
            got = [self.data[row] for row in rows]
        except UsageError as error:
            return error
        ys = [y for _, y in got]
        return torch.stack([x for x, _ in got]), None if ys[0] is None else torch.as_tensor(np.asarray(ys))


def _source(
    split: Part,
    dataset: Dataset,
    train: bool,
    device: torch.device,
    memory: Literal["auto", "device", "stream"],
    workers: int | Literal["auto"],
) -> Any:
    if isinstance(split, Generated):
        return _Made(split)
    if isinstance(split, Stream):
        if memory == "device":
            raise UsageError(
                f"trainer.memory=device was given; {dataset.source} is larger than memory; type trainer.memory=auto"
            )
        return _Streamed(split, dataset, device, min(8, os.cpu_count() or 1) if workers == "auto" else workers)
    if memory == "device" or (memory == "auto" and _fits(dataset, device)):
        return _Resident(split, dataset, train, device)
    return _Host(split, dataset, device)


def _fits(dataset: Dataset, device: torch.device) -> bool:
    """Whether all splits may stay on the device: half of what is free there is left to the model."""
    held = sum(split.x.nbytes for split in dataset.splits.values() if isinstance(split, Split))
    if device.type == "cuda":
        return held < torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        return held < torch.mps.recommended_max_memory() / 2
    return True  # the processor's memory holds it already


def _slices(split: Split, examples: int, size: int, start: int, lengths: Tensor | None = None) -> Iterator[Split]:
    for low in range(start, examples, size):
        high = min(low + size, examples)
        part = Split(*(None if part is None else part[low:high] for part in (split.x, split.y, split.lengths)))  # type: ignore[arg-type]
        yield part if lengths is None else buckets.cut(part, buckets.longest(lengths[low:high]))


def _told(split: Part, trim: bool) -> Part:
    return split if trim or not isinstance(split, Split) else Split(split.x, split.y)


def _to(split: Split, device: torch.device, pin: bool = False) -> Split:
    parts = (part if part is None or not pin else part.pin_memory() for part in (split.x, split.y, split.lengths))
    return Split(*(None if part is None else part.to(device, non_blocking=True) for part in parts))  # type: ignore[arg-type]


def _cut(ready: Split, size: int) -> Iterator[Batch]:
    """Views of `size` examples each: a microsecond a batch."""
    rest = (repeat(None) if part is None else part.split(size) for part in (ready.y, ready.lengths))
    return map(Batch, ready.x.split(size), *rest)


def _same(x: Any, *rest: Any) -> Any:
    return x


def _mix(*numbers: int) -> int:
    """One 64-bit seed of several numbers; neighbours give unrelated streams."""
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1, np.uint64)[0])
