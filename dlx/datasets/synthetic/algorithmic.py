"""Tasks that a short program solves and a network has to find: copy, repeat copy, associative recall, priority sort.

A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401, §4.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Generated, Part, Split
from dlx.errors import UsageError
from dlx.types import Count, Fraction


class Algorithmic(Dataset):
    """Base of datasets whose sequences are made batch by batch, on the device; all of one batch have one length.

    Inputs x (n, T, features) are binary vectors beside channels of their own for delimiters and numbers. Targets y
    (n, T, outputs) are 0, 1, or -1 at steps where no answer is asked; there nothing is given, x = 0. A subclass draws
    (`make`); what its test split asks beyond the training split is in `test_arguments`.

    Args:
        examples: sequences that are called an epoch.
        shape: of the longest example; found.
        classes: none.
        outputs: found.
        seed: as in `Dataset`.
        val, test: sequences of these splits, as parts of `examples`; they stay the same.
        limit: at most so many sequences are called an epoch.
    """

    kind: ClassVar[str] = "sequence"  # type: ignore[misc]

    def __init__(
        self,
        examples: Count = 10000,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.1,
        limit: Count | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.examples = examples
        self.test_arguments: dict[str, int] = {}  # arguments of `make` that the test split has of its own

    def read(self) -> Mapping[str, Part]:
        sizes = {"val": round(self.val * self.examples), "test": round(self.test * self.examples)}
        make: Callable[..., Split] = self.make
        makers: dict[str, Callable[..., Split]] = {"val": make, "test": partial(make, **self.test_arguments)}
        parts = {name: Generated(makers[name], size) for name, size in sizes.items() if size}
        return {"train": Generated(self.make, min(self.examples, self.limit or self.examples)), **parts}

    def make(self, n: int, generator: torch.Generator) -> Split:
        """Draw n sequences: x (n, T, features) and y (n, T, outputs)."""
        raise NotImplementedError


class Copy(Algorithmic):
    """A sequence of random vectors and a delimiter, to be answered by the same vectors (§4.1).

    Args:
        width: bits of a vector; the delimiter has a channel after them.
        shortest, longest: vectors of a sequence; each length between them is as likely.
        test_shortest, test_longest: the same of the test split, where it is to differ.
        common: as in `Algorithmic`.
    """

    def __init__(
        self,
        width: Count = 8,
        shortest: Count = 1,
        longest: Count = 20,
        test_shortest: Count | None = None,
        test_longest: Count | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.width, self.shortest, self.longest = width, shortest, longest
        self.test_arguments = drop_none(shortest=test_shortest, longest=test_longest)
        check_range("shortest", "longest", {"shortest": shortest, "longest": longest}, self.test_arguments)
        self.shape, self.outputs = (2 * longest + 1, width + 1), width

    def make(
        self, n: int, generator: torch.Generator, shortest: int | None = None, longest: int | None = None
    ) -> Split:
        L = draw_integer(shortest or self.shortest, longest or self.longest, generator)
        vectors = draw_bits(n, L, self.width, generator)
        x = vectors.new_zeros(n, 2 * L + 1, self.width + 1)
        x[:, :L, :-1] = vectors
        x[:, L, -1] = 1
        return Split(x, delay_targets(vectors, L + 1))


class RepeatCopy(Algorithmic):
    """Vectors and a number, to be answered by that many copies of them and an end marker (§4.2).

    The number has a channel of its own, with mean 0 and variance 1 over the training split, and comes with the
    delimiter. Outputs are the vectors' bits and the marker's.

    Args:
        width: bits of a vector; the delimiter and the number have channels after them.
        shortest, longest: vectors to be copied.
        fewest, most: copies.
        test_shortest, test_longest, test_fewest, test_most: the same of the test split, where it is to differ.
        common: as in `Algorithmic`.
    """

    def __init__(
        self,
        width: Count = 8,
        shortest: Count = 1,
        longest: Count = 10,
        fewest: Count = 1,
        most: Count = 10,
        test_shortest: Count | None = None,
        test_longest: Count | None = None,
        test_fewest: Count | None = None,
        test_most: Count | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.width = width
        self.ranges = {"shortest": shortest, "longest": longest, "fewest": fewest, "most": most}
        self.test_arguments = drop_none(
            shortest=test_shortest, longest=test_longest, fewest=test_fewest, most=test_most
        )
        check_range("shortest", "longest", self.ranges, self.test_arguments)
        check_range("fewest", "most", self.ranges, self.test_arguments)
        self.mean = (fewest + most) / 2
        self.std = (((most - fewest + 1) ** 2 - 1) / 12) ** 0.5 or 1.0  # of whole numbers, all as likely
        self.shape, self.outputs = (longest + 1 + longest * most + 1, width + 2), width + 1

    def make(self, n: int, generator: torch.Generator, **test_arguments: int) -> Split:
        ranges = self.ranges | test_arguments
        L = draw_integer(ranges["shortest"], ranges["longest"], generator)
        copies = draw_integer(ranges["fewest"], ranges["most"], generator)
        vectors = draw_bits(n, L, self.width, generator)
        x = vectors.new_zeros(n, L + 1 + L * copies + 1, self.width + 2)
        x[:, :L, :-2] = vectors
        x[:, L, -2] = 1
        x[:, L, -1] = (copies - self.mean) / self.std
        answer = vectors.new_zeros(n, L * copies + 1, self.width + 1)
        answer[:, :-1, :-1] = vectors.repeat(1, copies, 1)
        answer[:, -1, -1] = 1
        return Split(x, delay_targets(answer, L + 1))


class AssociativeRecall(Algorithmic):
    """Items of several vectors each, then one of them again, to be answered by the item that came after it (§4.3).

    A delimiter stands before every item, and another one, with a channel of its own, before and after the query.

    Args:
        width: bits of a vector; the two delimiters have channels after them.
        length: vectors of an item.
        fewest, most: items of a sequence.
        test_fewest, test_most: the same of the test split, where it is to differ.
        common: as in `Algorithmic`.

    Raises:
        UsageError: a single item, which nothing comes after.
    """

    def __init__(
        self,
        width: Count = 6,
        length: Count = 3,
        fewest: Count = 2,
        most: Count = 6,
        test_fewest: Count | None = None,
        test_most: Count | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.width, self.length, self.fewest, self.most = width, length, fewest, most
        self.test_arguments = drop_none(fewest=test_fewest, most=test_most)
        check_range("fewest", "most", {"fewest": fewest, "most": most}, self.test_arguments)
        if min(fewest, self.test_arguments.get("fewest", fewest)) < 2:
            raise UsageError("dataset.fewest=1 was given; needed: at least 2 items, one to ask for and the next")
        self.shape, self.outputs = ((most + 1) * (length + 1) + 1 + length, width + 2), width

    def make(self, n: int, generator: torch.Generator, fewest: int | None = None, most: int | None = None) -> Split:
        items, L = draw_integer(fewest or self.fewest, most or self.most, generator), self.length
        vectors = draw_bits(n, items * L, self.width, generator).view(n, items, L, self.width)
        asked = torch.randint(items - 1, (n,), generator=generator, device=generator.device)
        rows = torch.arange(n, device=generator.device)
        items_x = vectors.new_zeros(n, items + 1, L + 1, self.width + 2)  # each item behind its delimiter
        items_x[:, :-1, 1:, :-2] = vectors
        items_x[:, :-1, 0, -2] = 1
        items_x[:, -1, 1:, :-2] = vectors[rows, asked]
        items_x[:, -1, 0, -1] = 1
        end = (items + 1) * (L + 1)
        x = vectors.new_zeros(n, end + 1 + L, self.width + 2)
        x[:, :end] = items_x.flatten(1, 2)
        x[:, end, -1] = 1
        return Split(x, delay_targets(vectors[rows, asked + 1], end + 1))


class PrioritySort(Algorithmic):
    """Vectors with priorities, to be answered by those of the highest, in their order, the highest first (§4.5).

    Args:
        width: bits of a vector; the priority, uniform in [-1, 1], and the delimiter have channels after them.
        length: vectors of a sequence.
        sorted: vectors asked for.
        test_length, test_sorted: the same of the test split, where it is to differ.
        common: as in `Algorithmic`.

    Raises:
        UsageError: more are asked for than there are.
    """

    def __init__(
        self,
        width: Count = 8,
        length: Count = 20,
        sorted: Count = 16,
        test_length: Count | None = None,
        test_sorted: Count | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.width, self.length, self.sorted = width, length, sorted
        self.test_arguments = drop_none(length=test_length, sorted=test_sorted)
        check_range("sorted", "length", {"sorted": sorted, "length": length}, self.test_arguments)
        self.shape, self.outputs = (length + 1 + sorted, width + 2), width

    def make(self, n: int, generator: torch.Generator, length: int | None = None, sorted: int | None = None) -> Split:
        L, K = length or self.length, sorted or self.sorted
        vectors = draw_bits(n, L, self.width, generator)
        priority = torch.rand(n, L, generator=generator, device=generator.device) * 2 - 1
        x = vectors.new_zeros(n, L + 1 + K, self.width + 2)
        x[:, :L, :-2] = vectors
        x[:, :L, -2] = priority
        x[:, L, -1] = 1
        first = priority.topk(K, dim=1).indices  # (n, K), the highest first
        return Split(x, delay_targets(vectors.gather(1, first[:, :, None].expand(-1, -1, self.width)), L + 1))


def draw_integer(low: int, high: int, generator: torch.Generator) -> int:
    """Draw a whole number from low to high."""
    return int(torch.randint(low, high + 1, (), generator=generator, device=generator.device))


def draw_bits(n: int, T: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw zeros and ones, (n, T, width), each as likely."""
    return torch.randint(2, (n, T, width), generator=generator, device=generator.device).float()


def delay_targets(answer: Tensor, steps: int) -> Tensor:
    """Make targets (n, steps + K, outputs) of an answer (n, K, outputs) that is asked after so many steps."""
    return torch.nn.functional.pad(answer, (0, 0, steps, 0), value=-1.0)


def drop_none(**values: int | None) -> dict[str, int]:
    """Return the arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def check_range(low: str, high: str, ranges: Mapping[str, int], test_arguments: Mapping[str, int]) -> None:
    """Check that two bounds are in order, in training and in the test.

    Raises:
        UsageError: they are not.
    """
    for prefix, values in (("", ranges), ("test_", {**ranges, **test_arguments})):
        if values[low] > values[high]:
            raise UsageError(
                f"dataset.{low}={values[low]} and dataset.{high}={values[high]} were given; needed: {low} at most "
                f"{high}; type dataset.{prefix}{low}={values[high]}"
            )
