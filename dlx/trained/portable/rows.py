"""Rows to compare an exported file with `dlx predict` on, and the comparison."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Generated, Split, Stream
from dlx.errors import UsageError
from dlx.parts import Parts
from dlx.tasks.classification import Classification
from dlx.tasks.regression import Regression
from dlx.tasks.task import accepts_lengths
from dlx.trained.inputs import get_dtype
from dlx.trained.portable.graph import LENGTHS, Form, Graph

NUMBER = 16  # of rows
RELATIVE_TOLERANCE = 1e-4  # of the largest output: float32 sums in a different order

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]  # a file: inputs by name, outputs by name


class DisagreementError(UsageError):
    """A file gives other results than the model."""


class Rows(NamedTuple):
    """Raw examples."""

    x: Tensor  # (rows, *shape), as the dataset holds them
    lengths: Tensor | None  # (rows,) of sequences, where the model is told them
    source: str  # where they come from, for the user


class Feed(NamedTuple):
    """One call of a file."""

    rows: Tensor  # (batch,), which of them
    inputs: dict[str, Tensor]
    lengths: Tensor | None  # (batch,)


def find_rows(parts: Parts, number: int = NUMBER) -> Rows:
    """Take raw examples of the run's held-out data where that is there, and make some up by what was fitted if not.

    Nothing of them gets into the file.
    """
    dataset = parts.dataset
    try:
        name = dataset.held_out
        part = dataset.splits[name]
    except UsageError as error:
        x, lengths = _make_up(dataset, number)
        source = f"{len(x)} made-up rows, since the data cannot be read ({str(error).splitlines()[0]})"
    else:
        x, lengths = _take(part, number)
        source = f"{len(x)} rows of the {name} split"
    if len(x) == 1:
        x, lengths = x.repeat(2, *[1] * (x.ndim - 1)), None if lengths is None else lengths.repeat(2)
    if dataset.kind not in ("sequence", "symbols") or not accepts_lengths(parts.model):
        return Rows(x, None, source)
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1])
    return Rows(x[:, : int(lengths.max())], lengths, source)


def _take(part: Split | Stream | Generated, number: int) -> tuple[Tensor, Tensor | None]:
    if isinstance(part, Stream):
        return torch.stack([part.data[row][0] for row in range(min(number, len(part)))]), None
    if isinstance(part, Generated):
        part = part.make(number, torch.Generator().manual_seed(0))
    return part.x[:number], None if part.lengths is None else part.lengths[:number]


def _make_up(dataset: Dataset, number: int) -> tuple[Tensor, Tensor | None]:
    """Make up raw examples by what was fitted: numbers of its mean and spread, pictures of noise, symbols at random."""
    generator, dtype = torch.Generator().manual_seed(0), get_dtype(dataset)
    shape = tuple(dataset.shape or ())
    lengths = None
    if dataset.kind in ("sequence", "symbols") and dataset.step_layout != "fixed":
        lengths = torch.randint(max(shape[0] // 2, 1), shape[0] + 1, (number,), generator=generator)
    if not dtype.is_floating_point:
        top = dataset.symbols or 2 if dataset.kind != "image" else int(getattr(dataset, "levels", 255)) + 1
        return torch.randint(top, (number, *shape), generator=generator).to(dtype), lengths
    if dataset.kind == "image":
        return torch.rand(number, *shape, generator=generator).to(dtype) * getattr(dataset, "levels", 1.0), lengths
    drawn = torch.randn(number, *shape, generator=generator)
    x = dataset.inverse_transform(drawn).to(dtype)
    return dataset.make_preprocessing().snap(x) if dataset.kind == "vector" else x, lengths


def make_feeds(rows: Rows, form: Form, encode: Callable[[Tensor], dict[str, Tensor]]) -> Iterator[Feed]:
    """Yield batches of several sizes: of padded sequences with their lengths, or of one length each.

    Args:
        rows: to be given.
        form: of the graph that they are for.
        encode: from the dataset's raw examples to the graph's inputs.
    """
    x, lengths = rows.x, rows.lengths
    everything = torch.arange(len(x))
    if lengths is not None and not form.lengths:
        for length in lengths.unique().tolist():
            of_length = (lengths == length).nonzero()[:, 0]
            for index in {1: of_length[:1], len(of_length): of_length}.values():
                yield Feed(index, encode(x[index, :length]), lengths[index])
        return
    sizes = {1, min(2, len(x)), min(5, len(x)), len(x)}
    groups = [everything[:size] for size in sorted(sizes)]
    if lengths is not None:
        groups += [everything[row : row + 1] for row in range(1, len(x))]  # each at its own length
    for index in groups:
        if lengths is None:
            yield Feed(index, encode(x[index]), None)
            continue
        steps = int(lengths[index].max()) if form.free_time else x.shape[1]
        yield Feed(index, {**encode(x[index, :steps]), LENGTHS: lengths[index]}, lengths[index])


@torch.no_grad()
def compare(
    run: Run, graph: Graph, feeds: Iterator[Feed], predicted: Mapping[str, Tensor], parts: Parts
) -> dict[str, float]:
    """Return the largest difference of each output of a file from what dlx says, over batches of several sizes.

    Args:
        run: calls the file.
        graph: that was exported.
        feeds: what it is given.
        predicted: the columns of `dlx predict` for all rows; outputs that are none are compared with the graph's own.
        parts: of the run.

    Raises:
        UsageError: a difference is larger than rounding explains.
    """
    largest: dict[str, float] = {}
    for feed in feeds:
        actual = run(feed.inputs)
        own = graph(*feed.inputs.values()) if set(actual) - set(predicted) else {}
        for name, found in actual.items():
            expected = predicted[name][feed.rows] if name in predicted else own[name]
            expected, found = _cut(expected, found, feed, parts)
            difference = _measure(expected, found)
            if name == "label" and difference and "probability" in actual:
                difference = 0.0 if _is_tied(predicted["probability"][feed.rows], actual["probability"]) else 1.0
            if not difference <= _tolerance(name, expected, parts):
                raise DisagreementError(
                    f"the exported file gives other results than the model for a batch of {len(feed.rows)}: its "
                    f"{name} differs by up to {difference:.3g}, so it was not kept: the model draws random numbers, or "
                    "the exporter does not know one of its operators; type -o with the other of .onnx and .pt2"
                )
            largest[name] = max(largest.get(name, 0.0), difference)
    return largest


def _cut(expected: Tensor, found: Tensor, feed: Feed, parts: Parts) -> tuple[Tensor, Tensor]:
    """Leave out what is said of the padding of sequences: nothing."""
    steps = feed.inputs["x"].shape[1] if feed.lengths is not None else 0
    of_steps = not isinstance(parts.task, Classification | Regression) and found.ndim > 1 and found.shape[1] == steps
    if feed.lengths is None or not of_steps:
        return expected, found
    real = torch.arange(steps) < feed.lengths[:, None]
    return expected[:, :steps][real], found[real]


def _measure(expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        return float("inf")
    if not expected.numel():
        return 0.0
    a, b = expected.double(), found.double()
    return float(torch.where(a == b, 0.0, (a - b).abs()).max())  # equal infinities are equal


def _tolerance(name: str, expected: Tensor, parts: Parts) -> float:
    if not expected.is_floating_point() or not expected.numel():
        return 0.0
    mean, std = parts.dataset.target_mean, parts.dataset.target_std
    if name == "prediction" and mean is not None and std is not None:  # by the spread, however far from zero it lies
        scaled = (expected.double() - mean) / std
        return float(RELATIVE_TOLERANCE * max(1.0, float(scaled.abs().max())) * std.max())
    finite = expected[expected.isfinite()]
    return RELATIVE_TOLERANCE * max(1.0, float(finite.abs().max()) if finite.numel() else 1.0)


def _is_tied(expected: Tensor, found: Tensor) -> bool:
    """Return whether both choose classes that are as probable to within rounding."""
    top = expected.amax(1)
    chosen = expected.gather(1, found.argmax(1)[:, None])[:, 0]
    return bool((top - chosen <= RELATIVE_TOLERANCE).all())
