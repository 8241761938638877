"""The contract of a dataset: splits as tensors, sizes declared and checked, batches transformed on their device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from dlx.errors import UsageError
from dlx.types import Count, Fraction


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in memory, on the CPU; images may be uint8."""

    x: Tensor  # (examples, *shape)
    # (examples,) int64 labels, (examples, outputs) float targets, or (examples, T) labels and (examples, T, outputs)
    # targets of each step.
    y: Tensor | None = None
    lengths: Tensor | None = None  # (examples,) int64, for sequences that are padded at their ends

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> "Split":
        """Return the examples at `index`, (n,) int64, copied."""
        parts = (self.x, self.y, self.lengths)
        return Split(*(None if part is None else part.index_select(0, index) for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Stream:
    """Examples too large for memory, read when a batch needs them.

    Args:
        data: a map-style torch dataset of (x, y): x a tensor of the dataset's shape, y a label or a target.
        y: all labels, (examples,) int64, where they are known: a stratified split needs them.
    """

    data: Any
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def take(self, index: Tensor) -> "Stream":
        """Return the examples at `index`, (n,) int64, still to be read."""
        return Stream(Subset(self.data, index.tolist()), None if self.y is None else self.y[index])


@dataclass(frozen=True, eq=False)
class Generated:
    """Examples that are made when a batch needs them, on its device, and never twice.

    Args:
        make: `make(examples, generator)` gives so many of them, on the generator's device; what is drawn depends on the
            generator alone. Those of one call may be longer or shorter than those of the next.
        examples: that are called an epoch.
    """

    make: Callable[[int, torch.Generator], Split]
    examples: int

    def __len__(self) -> int:
        return self.examples


Part = Split | Stream | Generated


class Dataset:
    """Base of all datasets: a subclass says how to `read`, and may say how a batch is to `transform`.

    Args:
        shape: of one example; null takes what the data has, anything else must agree with it.
        classes: number of classes (of symbols, for symbol sequences); null for a regression or for data without labels.
        outputs: size of a model's last layer: the classes, or the number of regression targets.
        seed: of the splits, and of what is generated.
        val: part of the training examples that is kept for validation.
        test: part of all examples that is kept for the test; not used where the data comes with a test split.
        limit: learn from so many examples only, drawn after the test and validation splits were taken.
    """

    kind: str  # image, vector, sequence (of vectors), symbols (sequences of them); not set where only loading tells
    folders = False  # whether `inputs` reads a folder too

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
    ) -> None:
        self.shape = None if shape is None else tuple(shape)
        self.classes, self.outputs = classes, outputs
        self.seed, self.val, self.test, self.limit = seed, val, test, limit
        self.symbols: int | None = None  # how many there are, where kind is "symbols"
        self.names: list[str] | None = None  # of the classes
        self.vocabulary: list[str] | None = None  # the symbols, where the classes are something else
        self.columns: list[str] | None = None  # names of the features
        # (outputs,) where targets are standardised: y * target_std + target_mean are the original ones.
        self.target_mean: Tensor | None = None
        self.target_std: Tensor | None = None
        self.splits: dict[str, Part] = {}
        self.notes: list[str] = []  # what was dropped, cast or guessed on the way in; shown, and kept in run.json

    def note(self, text: str) -> None:
        """Say what was dropped, cast or guessed: "30 of 90 rows dropped: gap in the target"; once each."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def source(self) -> str:
        """What error messages call the data."""
        return type(self).__name__.lower()

    @property
    def held_out(self) -> str:
        """The split to measure where none is named: test; without one val, without either train."""
        return next(name for name in ("test", "val", "train") if name in self.splits)

    def read(self) -> Mapping[str, Part]:
        """Return everything there is: `train`, and `val` and `test` where the data comes with them."""
        raise NotImplementedError

    def load(self) -> None:
        """Read, check against what was declared, split, and fit the scaling on the training split.

        Raises:
            UsageError: the data is not there, is damaged, or is not what the configuration declares.
        """
        parts = self.read()
        for name, part in parts.items():
            if isinstance(part, Split) and part.x.is_floating_point():
                self.check_finite(part.x, f"the inputs of its {name} part")
            if isinstance(part, Split) and part.y is not None and part.y.is_floating_point():
                self.check_finite(part.y, f"the targets of its {name} part")
        self._infer_sizes(parts["train"])
        for part in parts.values():
            self._check_labels(part)
        self.splits = dict(self._hold_out(parts))
        train = self.splits["train"]
        if not isinstance(train, Generated):
            self.prepare(train)

    def prepare(self, train: Split | Stream) -> None:
        """Fit what `transform` needs; it sees the training split only, so that nothing leaks from the others."""

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        """Turn raw x, (batch, *shape), into what a model sees, on its device: float, scaled; augmented if `train`."""
        return x

    def transform_on(self, x: Tensor, device: torch.device | str) -> Tensor:
        """Return raw x, (batch, *shape), as a model sees it in evaluation, on a device.

        What is held in float64 is scaled where it lies: not every device knows such numbers.
        """
        if x.dtype == torch.float64:
            return self.transform(x, False, None).to(device)
        return self.transform(x.to(device), False, None)

    def random(self, train: bool) -> bool:
        """Return whether `transform` draws from its generator."""
        return False

    def inputs(self, path: Path) -> Split:
        """Read raw examples (n, *shape) from a file for prediction, to be given to `transform`.

        Raises:
            UsageError: this dataset reads no files of that kind.
        """
        raise UsageError(f"{path} was given; {self.source} reads no such files; type a .npy or .npz file of inputs")

    def steps(self, path: Path) -> list[list[str]] | None:
        """Return names for the steps of the sequences that `inputs` reads from a file; None for their numbers."""
        return None

    # -- checks ------------------------------------------------------------------------------------------------------

    def check_finite(self, values: Tensor, what: str) -> None:
        """Refuse NaN and infinity, naming the first place.

        Raises:
            UsageError: one of `values`, (examples, ...), is not finite.
        """
        bad = ~values.isfinite()
        if not bad.any():
            return
        row, *place = (int(i) for i in bad.nonzero()[0])
        where = f"row {row}"
        if place:
            named = self.columns and len(place) == 1 and place[0] < len(self.columns)
            column = repr(self.columns[place[0]]) if named and self.columns else ", ".join(map(str, place))
            where += f", column {column}"
        raise UsageError(
            f"{self.source}: {what} hold {float(values[row, *place])} at {where} (counted from 0; "
            f"{int(bad.sum())} such values in all); needed: finite numbers; correct or remove them"
        )

    def _infer_sizes(self, train: Part) -> None:
        """Infer the sizes from the training part: check those that were declared, and fill in those that were not."""
        if len(train) == 0:
            raise UsageError(f"{self.source} holds no examples; needed: at least one")
        if isinstance(train, Generated):  # it declares what it makes
            return
        x, y = (train.x[0], train.y) if isinstance(train, Split) else (train.data[0][0], train.y)
        if not hasattr(self, "kind"):
            self.kind = {1: "vector", 3: "image"}.get(x.ndim, "sequence")
        classes: int | None = None
        if self.kind == "symbols":
            classes = len(self.names) if self.names else None
        elif y is not None and not y.is_floating_point():
            classes = len(self.names) if self.names else int(y.max()) + 1
        columns = y.shape[1:].numel() if y is not None and y.is_floating_point() else None
        if columns and y is not None and self.kind == "sequence" and y.ndim == 3:  # targets of each step
            columns = y.shape[2]
        outputs = columns or classes or (x.shape[-1] if self.kind == "sequence" else x.numel())
        symbols = len(self.vocabulary or self.names or ()) if self.kind == "symbols" else None
        sizes = {"shape": tuple(x.shape), "classes": classes, "outputs": outputs, "symbols": symbols}
        for name, actual in sizes.items():
            declared = getattr(self, name)
            if declared is not None and declared != actual:
                shown = list(actual) if isinstance(actual, tuple) else "null" if actual is None else actual
                wanted = list(declared) if isinstance(declared, tuple) else declared
                raise UsageError(
                    f"dataset.{name}={wanted} was given; {self.source} has {shown}; type dataset.{name}={shown}"
                    if actual is not None
                    else f"dataset.{name}={wanted} was given; {self.source} has no labels; type dataset.{name}=null"
                )
            setattr(self, name, actual)

    def _check_labels(self, part: Part) -> None:
        """Refuse labels outside 0 … classes - 1, and a single class."""
        y, classes = None if isinstance(part, Generated) else part.y, self.classes
        if y is None or y.is_floating_point() or classes is None or self.kind == "symbols":
            return
        if classes < 2:
            raise UsageError(f"{self.source} has one class only; needed: two or more, or another target")
        if int(y.min()) < 0 or int(y.max()) >= classes:
            wrong = int(((y < 0) | (y >= classes)).nonzero()[0])
            raise UsageError(
                f"{self.source}: row {wrong} has label {int(y[wrong])}; needed: labels from 0 to {classes - 1}"
            )

    # -- splits ------------------------------------------------------------------------------------------------------

    def _hold_out(self, parts: Mapping[str, Part]) -> Mapping[str, Part]:
        """Take the test split out of all examples, then the validation split out of what is left; both stratified."""
        generator = torch.Generator().manual_seed(self.seed)
        train, splits = parts["train"], {name: part for name, part in parts.items() if name != "train"}
        if isinstance(train, Generated):
            return parts
        rest = torch.randperm(len(train), generator=generator)
        held_out = {}
        for name, fraction in (("test", self.test), ("val", self.val)):
            if name in splits or fraction == 0 or len(rest) < 2:
                continue
            wanted = min(max(round(fraction * len(rest)), 1), len(rest) - 1)
            members, rest = split_stratified(rest, train.y, wanted, generator)
            held_out[name] = members
        if self.limit is not None and self.limit < len(rest):
            rest, _ = split_stratified(rest, train.y, self.limit, generator)
        taken = self.take_parts(train, {"train": rest, **held_out})
        return {"train": taken["train"], **splits, **{name: taken[name] for name in held_out}}

    def take_parts(self, part: Split | Stream, rows: Mapping[str, Tensor]) -> Mapping[str, Part]:
        """Take examples at several `rows`, (n,) int64 and all different, out of a part that is not needed again."""
        return {name: part.take(index) for name, index in rows.items()}


def split_stratified(rows: Tensor, y: Tensor | None, wanted: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `wanted` of `rows`, each class in proportion (to within one example), and return them and the others.

    Args:
        rows: (n,) int64, into `y`.
        y: labels; targets that are not integers, or None, are drawn from at random.
        wanted: how many, at most n.
        generator: what the draw depends on.

    Returns:
        The chosen (wanted,) and the others (n - wanted,), each in random order.
    """
    rows = rows[torch.randperm(len(rows), generator=generator)]
    if y is None or y.is_floating_point() or y.ndim != 1:
        return rows[:wanted], rows[wanted:]
    labels = y[rows]
    counts = labels.bincount()
    share = counts.double() * wanted / len(rows)
    quota = share.floor().long()
    # The largest remainders get what rounding down left over.
    quota[(share - quota).argsort(descending=True, stable=True)[: wanted - int(quota.sum())]] += 1
    by_class = labels.argsort(stable=True)
    rank = torch.empty_like(by_class)  # of each row within its class
    rank[by_class] = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[labels[by_class]]
    taken = rank < quota[labels]
    return rows[taken], rows[~taken]
