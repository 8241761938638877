"""Where a split lies, and how chunks of it are made ready: on the device, in main memory, read by workers, or drawn."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dlx.datasets.dataset import Dataset, Generated, Part, Split, Stream
from dlx.datasets.sequences import buckets
from dlx.errors import UsageError

LARGEST = 2**26  # bytes, as float32, of what is gathered at once on an accelerator


class Source:
    """Chunks of a split, and how they are made ready for a model."""

    transform: Callable[..., Tensor]
    lengths: Tensor | None = None  # on the processor, where sequences differ in length: what to cut asks no device

    def ready(self, part: Split, train: bool, generator: torch.Generator | None) -> Split:
        """A chunk as a model sees it."""
        return Split(self.transform(part.x, train, generator), part.y, part.lengths)

    def needed(self, split: Split, rows: Tensor) -> Split:
        """A split as far as these rows' sequences reach."""
        return split if self.lengths is None else buckets.cut(split, buckets.longest(self.lengths[rows]))


class Resident(Source):
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


class Host(Source):
    """A split in main memory: each chunk is gathered there and copied while the device is still computing."""

    def __init__(self, split: Split, dataset: Dataset, device: torch.device) -> None:
        self.split, self.transform, self.device = split, dataset.transform, device

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """As `Resident.chunks`."""
        if order is None:
            parts: Iterable[Split] = _slices(self.split, examples, size, start, self.lengths)
        else:
            parts = (self.needed(self.split, rows).take(rows) for rows in order[start:examples].split(size))
        for part in parts:
            yield _to(part, self.device, pin=self.device.type == "cuda")


class Streamed(Source):
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
        """As `Resident.chunks`."""
        rows = torch.arange(examples) if order is None else order[:examples]
        self.plan[:] = [part.tolist() for part in rows[start:].split(size)]
        for got in self.loader:
            if isinstance(got, UsageError):
                raise got
            yield _to(Split(*got), self.device)


class Made(Source):
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


def source(
    split: Part,
    dataset: Dataset,
    train: bool,
    device: torch.device,
    memory: Literal["auto", "device", "stream"],
    workers: int | Literal["auto"],
) -> Any:
    """A split's source.

    Args:
        train: whether it is the split that is augmented.
        workers: processes that read what does not fit into memory; `auto`, one for each core, eight at most.

    Raises:
        UsageError: `memory=device`, and the data does not fit into memory.
    """
    if isinstance(split, Generated):
        return Made(split)
    if isinstance(split, Stream):
        if memory == "device":
            raise UsageError(
                f"trainer.memory=device was given; {dataset.source} is larger than memory; type trainer.memory=auto"
            )
        return Streamed(split, dataset, device, min(8, os.cpu_count() or 1) if workers == "auto" else workers)
    if memory == "device" or (memory == "auto" and _fits(dataset, device)):
        return Resident(split, dataset, train, device)
    return Host(split, dataset, device)


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


def _to(split: Split, device: torch.device, pin: bool = False) -> Split:
    parts = (part if part is None or not pin else part.pin_memory() for part in (split.x, split.y, split.lengths))
    return Split(*(None if part is None else part.to(device, non_blocking=True) for part in parts))  # type: ignore[arg-type]


def _same(x: Any, *rest: Any) -> Any:
    return x
