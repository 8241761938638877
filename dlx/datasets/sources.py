"""Where a split lies and how its chunks reach the model: on the device, in main memory, read by workers, or drawn."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dlx.datasets.dataset import Dataset
from dlx.datasets.sequences import buckets
from dlx.datasets.splits import Generated, Part, Split, Stream
from dlx.errors import UsageError

MAX_CHUNK_BYTES = 2**26  # bytes, as float32, of what is gathered at once on an accelerator
MAX_PIECE_BYTES = 2**22  # of float64 examples that are scaled at once


class Source:
    """Chunks of a split, and how they are transformed for a model."""

    transform: Callable[..., Tensor]
    lengths: Tensor | None = None  # on the processor, where sequences differ in length: what to cut asks no device

    def process_chunk(self, part: Split, train: bool, generator: torch.Generator | None) -> Split:
        """Return a chunk as a model sees it."""
        return Split(self.transform(part.x, train, generator), part.y, part.lengths)

    def trim(self, split: Split, rows: Tensor) -> Split:
        """Cut a split off where the longest of these rows' sequences ends."""
        return split if self.lengths is None else buckets.trim(split, buckets.compute_max_length(self.lengths[rows]))


class DeviceSource(Source):
    """A split on the device. What its transform would compute again for each batch is computed once, if small."""

    def __init__(self, split: Split, dataset: Dataset, train: bool, device: torch.device) -> None:
        self.transform = dataset.transform
        if not dataset.random(train):
            if split.x.dtype == torch.float64:  # float32 is half as much, and all that some devices know
                split = Split(_transform_pieces(split.x, dataset, device), split.y, split.lengths)
                self.transform = _identity
            elif 4 * split.x.numel() <= MAX_CHUNK_BYTES:
                x = dataset.transform(split.x.to(device, non_blocking=True), train, None)
                split = Split(x, split.y, split.lengths)
                self.transform = _identity
        self.split = _to_device(split, device)

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """Yield examples start, …, examples - 1 of an order (None: as they stand), `size` at a time."""
        if order is None:
            yield from _iterate_slices(self.split, examples, size, start, self.lengths)
            return
        order = order[start:examples]
        for rows, index in zip(order.split(size), order.to(self.split.x.device).split(size), strict=True):
            yield self.trim(self.split, rows).take(index)


class HostSource(Source):
    """A split in main memory: each chunk is gathered there and copied while the device is still computing."""

    def __init__(self, split: Split, dataset: Dataset, device: torch.device) -> None:
        self.split, self.transform, self.device = split, dataset.transform, device
        self.scales_here = (
            split.x.dtype == torch.float64
        )  # half as much is to be copied, and some devices know float32 only

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """Yield chunks as `DeviceSource.chunks` does."""
        if order is None:
            parts: Iterable[Split] = _iterate_slices(self.split, examples, size, start, self.lengths)
        else:
            parts = (self.trim(self.split, rows).take(rows) for rows in order[start:examples].split(size))
        for part in parts:
            if self.scales_here:
                part = Split(self.transform(part.x, False, None), part.y, part.lengths)
            yield _to_device(part, self.device, pin=self.device.type == "cuda")

    def process_chunk(self, part: Split, train: bool, generator: torch.Generator | None) -> Split:
        return part if self.scales_here else super().process_chunk(part, train, generator)


class StreamSource(Source):
    """A split that worker processes read, chunk by chunk."""

    def __init__(self, stream: Stream, dataset: Dataset, device: torch.device, workers: int) -> None:
        self.transform, self.device = dataset.transform, device
        self.chunk_rows: list[list[int]] = []  # rows of each chunk, refilled for every pass
        # Workers live for one pass: kept, those of three splits would sit in memory together, and a pass that is
        # abandoned half way would be waited for.
        self.loader = DataLoader(
            _ChunkDataset(stream.data),
            batch_sampler=self.chunk_rows,
            num_workers=workers,
            collate_fn=_identity,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else the loader would draw from the global one at every pass
        )

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[Split]:
        """Yield chunks as `DeviceSource.chunks` does."""
        rows = torch.arange(examples) if order is None else order[:examples]
        self.chunk_rows[:] = [part.tolist() for part in rows[start:].split(size)]
        for chunk in self.loader:
            if isinstance(chunk, UsageError):
                raise chunk
            yield _to_device(Split(*chunk), self.device)


class GeneratedSource(Source):
    """A split that is made on the device, a batch at a time."""

    def __init__(self, split: Generated) -> None:
        self.make = split.make

    def chunks(self, order: Tensor | None, examples: int, size: int, start: int) -> Iterator[int]:
        """Return how many examples each chunk has, from `start` on."""
        return (min(size, examples - low) for low in range(start, examples, size))

    def process_chunk(self, part: Any, train: bool, generator: torch.Generator | None) -> Split:
        """Generate as many examples as `part` says."""
        assert generator is not None
        return self.make(part, generator)


class _ChunkDataset(torch.utils.data.Dataset[Any]):
    """Whole chunks of a map-style dataset. A bad file comes back as its error: workers would wrap it in a traceback."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor | None] | UsageError:
        try:
            examples = [self.data[row] for row in rows]
        except UsageError as error:
            return error
        ys = [y for _, y in examples]
        return torch.stack([x for x, _ in examples]), None if ys[0] is None else torch.as_tensor(np.asarray(ys))


def make_source(
    split: Part,
    dataset: Dataset,
    train: bool,
    device: torch.device,
    memory: Literal["auto", "device", "stream"],
    workers: int | Literal["auto"],
) -> Any:
    """Make a split's source, by where its data fits.

    Args:
        train: whether it is the split that is augmented.
        workers: processes that read what does not fit into memory; `auto`, one for each core, eight at most.

    Raises:
        UsageError: `memory=device`, and the data does not fit into memory.
    """
    if isinstance(split, Generated):
        return GeneratedSource(split)
    if isinstance(split, Stream):
        if memory == "device":
            raise UsageError(
                f"trainer.memory=device was given; {dataset.source} is larger than memory; type trainer.memory=auto"
            )
        return StreamSource(split, dataset, device, min(8, os.cpu_count() or 1) if workers == "auto" else workers)
    if memory == "device" or (memory == "auto" and _fits_on_device(dataset, device)):
        return DeviceSource(split, dataset, train, device)
    return HostSource(split, dataset, device)


def _fits_on_device(dataset: Dataset, device: torch.device) -> bool:
    """Return whether all splits may stay on the device: half of what is free there is left to the model."""
    size = sum(split.x.nbytes for split in dataset.splits.values() if isinstance(split, Split))
    if device.type == "cuda":
        return size < torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        return size < torch.mps.recommended_max_memory() / 2
    return True  # the processor's memory holds it already


def _iterate_slices(
    split: Split, examples: int, size: int, start: int, lengths: Tensor | None = None
) -> Iterator[Split]:
    for low in range(start, examples, size):
        high = min(low + size, examples)
        part = Split(*(None if part is None else part[low:high] for part in (split.x, split.y, split.lengths)))  # type: ignore[arg-type]
        yield part if lengths is None else buckets.trim(part, buckets.compute_max_length(lengths[low:high]))


def _transform_pieces(x: Tensor, dataset: Dataset, device: torch.device) -> Tensor:
    """Scale examples (n, *shape) float64 where they are, a few at a time, and return them as float32 on a device."""
    scaled = torch.empty(x.shape, dtype=torch.float32, device=device)
    rows = max(1, MAX_PIECE_BYTES * len(x) // max(x.nbytes, 1))
    for low in range(0, len(x), rows):
        scaled[low : low + rows] = dataset.transform(x[low : low + rows], False, None)
    return scaled


def _to_device(split: Split, device: torch.device, pin: bool = False) -> Split:
    parts = (part if part is None or not pin else part.pin_memory() for part in (split.x, split.y, split.lengths))
    return Split(*(None if part is None else part.to(device, non_blocking=True) for part in parts))  # type: ignore[arg-type]


def _identity(x: Any, *rest: Any) -> Any:
    return x
