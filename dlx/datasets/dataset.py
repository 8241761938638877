"""The contract of a dataset: splits as tensors, sizes declared and checked, batches transformed on their device."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlx.datasets import files
from dlx.datasets.checks import check_labels, infer_sizes
from dlx.datasets.preprocessing import Preprocessing
from dlx.datasets.splits import Generated, Part, Split, StepLayout, Stream, find_step_layout, split_stratified
from dlx.datasets.state import Fitted
from dlx.errors import UsageError
from dlx.types import Count, Fraction

SEEN_EXAMPLES = 1000  # training examples whose range is noted
SEEN_VALUES = 2**24  # at most so many values of them
GENERATED_EXAMPLES = 32  # of those that are made as they are needed


class Dataset(Fitted):
    """Base of all datasets: a subclass says how to `read`, and may say how a batch is to `transform`.

    What `load` finds in the data and fits to it is the dataset's state: a class names its attributes in `fitted`. A run
    keeps it in its checkpoints, and a dataset that has got it by `load_state_dict` predicts without reading anything;
    `load` reads data then by what was fitted before.

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
    is_whole = False  # whether nothing is held out, as `measure_whole` asks
    folders = False  # whether `inputs` reads a folder too
    fitted: ClassVar[tuple[str, ...]] = (
        *("kind", "shape", "classes", "outputs", "symbols", "names", "vocabulary", "columns"),
        *("target_mean", "target_std", "dtype", "step_layout", "split_sizes", "seen_range", "has_bits"),
    )
    held: ClassVar[tuple[str, ...]] = ("_splits", "notes")

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
        self.dtype: torch.dtype | None = None  # of the raw examples; None until they are read
        self.step_layout: StepLayout = "fixed"
        self.split_sizes: dict[str, int] = {}  # examples of each split
        # Smallest and largest value of the first training examples as a model sees them; None for those in files.
        self.seen_range: tuple[float, float] | None = None
        self.has_bits = False  # whether all of them are 0 or 1
        self._splits: dict[str, Part] | None = {}  # None: still to be read
        self._before_read: list[Callable[[], None]] = []
        self._when_read: list[Callable[[], None]] = []
        self._when_split: list[Callable[[Mapping[str, Part]], None]] = []
        self.notes: list[str] = []  # what was dropped, cast or guessed on the way in; shown, and kept in run.json

    def note(self, text: str) -> None:
        """Say what was dropped, cast or guessed: "30 of 90 rows dropped: gap in the target"; once each."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def splits(self) -> dict[str, Part]:
        """The splits; a dataset with a restored state reads them when they are first asked for."""
        if self._splits is None:
            self.load()
        assert self._splits is not None
        return self._splits

    @splits.setter
    def splits(self, splits: dict[str, Part]) -> None:
        self._splits = splits

    @property
    def is_read(self) -> bool:
        """Whether the splits are in place."""
        return self._splits is not None

    def measure_whole(self) -> None:
        """Hold nothing out of data that is still to be read: all of it is the split `test`, unless it has one itself.

        For data that nothing was learned from. The files of other splits are those of the old data, and left out.
        """
        self.is_whole, self.test, self.val, self.limit = True, 0, 0, None
        for name in ("val_path", "test_path"):
            if hasattr(self, name):
                setattr(self, name, None)

    def count_examples(self, split: str) -> int:
        """Return how many examples a split has, without reading it for that."""
        return len(self.splits[split]) if self.is_read else self.split_sizes[split]

    def when_read(self, act: Callable[[], None]) -> None:
        """Call `act` once the splits are there: at once, or when somebody asks for them."""
        if self.is_read:
            act()
        else:
            self._when_read.append(act)

    def before_read(self, act: Callable[[], None]) -> None:
        """Call `act` before the splits of a dataset with a restored state are read."""
        self._before_read.append(act)

    def when_split(self, act: Callable[[Mapping[str, Part]], None]) -> None:
        """Call `act` with the splits as they were read, before gaps are filled and targets scaled."""
        self._when_split.append(act)

    @property
    def source(self) -> str:
        """What error messages call the data."""
        return type(self).__name__.lower()

    @property
    def categories(self) -> Mapping[str, Sequence[str]]:
        """Columns that hold text, each with its categories: its features are called `column=category`."""
        return {}

    @property
    def target_names(self) -> Sequence[str]:
        """Names of the targets of a regression; none where the data does not name them."""
        return ()

    def survey_files(self) -> dict[str, dict[str, int]]:
        """Count how many files have each size, mode and format; nothing where the data is in no such files."""
        return {}

    @property
    def held_out(self) -> str:
        """The split to measure where none is named: test; without one val, without either train."""
        return next(name for name in ("test", "val", "train") if name in self.splits)

    @property
    def padding(self) -> Tensor:
        """What stands for a step beyond a sequence's end, before scaling: 0-d, or (channels,)."""
        return torch.zeros(())

    def list_files(self) -> list[Path]:
        """List the files and folders that `read` reads and that are there; none where the data is generated."""
        given = [getattr(self, name, None) for name in ("path", "val_path", "test_path")]
        return [found for path in given if isinstance(path, str) and (found := self._find_file(path)) is not None]

    def _find_file(self, path: str) -> Path | None:
        """Find what an option names: as it stands, or below the data folders where the class looks there."""
        plain = Path(path).expanduser()
        if plain.exists():
            return plain
        folder = files.find_root([path], self.root) if hasattr(self, "root") else None
        return folder and folder / path

    def read(self) -> Mapping[str, Part]:
        """Return everything there is: `train`, and `val` and `test` where the data comes with them."""
        raise NotImplementedError

    def load(self) -> None:
        """Read, check against what was declared, split, and fit the scaling on the training split.

        With a restored state (`load_state_dict`) nothing is fitted: the data is read as that state says.

        Raises:
            UsageError: the data is not there, is damaged, or is not what the configuration or the state declares.
        """
        state = self.state_dict() if self.is_fitted else None
        while self._before_read:
            self._before_read.pop(0)()
        self._splits = {}
        try:
            self._load()
        except BaseException:
            self._splits = None if state is not None else {}
            raise
        if state is not None:  # also of a class that fits in spite of it
            self._restore({name: value for name, value in state.items() if name != "split_sizes"})
        while self._when_read:
            self._when_read.pop(0)()

    def _load(self) -> None:
        before = self.freeze_attributes()
        parts = self.read()
        for name, part in parts.items():
            if isinstance(part, Split) and part.x.is_floating_point():
                self.check_finite(part.x, f"the inputs of its {name} part")
            if isinstance(part, Split) and part.y is not None and part.y.is_floating_point():
                self.check_finite(part.y, f"the targets of its {name} part")
        infer_sizes(self, parts["train"])
        for part in parts.values():
            check_labels(self, part)
        self.splits = dict(self._hold_out(parts))
        if self.is_whole:
            self._take_whole()
        for act in self._when_split:
            act(self.splits)
        train = self.splits["train"]
        if not isinstance(train, Generated):
            self.prepare(train)
        self.finish_splits()
        self._describe_splits()
        self.undeclared = self.find_undeclared(before)

    def _take_whole(self) -> None:
        """Make all of the data the split `test`, unless it came with one."""
        if "test" in self.splits:
            self.note(
                f"{self.source} has a split test of its own, which is measured: {len(self.splits['test']):,} examples"
            )
            return
        whole = self.splits["test"] = self.splits["train"]
        self.note(
            f"{self.source}: nothing was learned from it, so that all of its {len(whole):,} examples are measured"
        )

    def prepare(self, train: Split | Stream) -> None:
        """Fit what `transform` needs, and bring the splits into the form that it takes.

        It sees the training split only, so that nothing leaks from the others. Where `is_fitted`, the state is there
        already, and only the splits are left to do.
        """

    def finish_splits(self) -> None:
        """Change the splits once everything is fitted; nothing by default."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._splits = None

    # -- splits, told without them -------------------------------------------------------------------------------------

    def _describe_splits(self) -> None:
        """Note what else is asked of the splits, so that it can be told without them."""
        self.split_sizes = {name: len(part) for name, part in self.splits.items()}
        train = self.splits["train"]
        self.step_layout = find_step_layout(train)
        if isinstance(train, Stream):
            self.dtype = train.data[0][0].dtype
            return
        if isinstance(train, Generated):
            train = train.make(GENERATED_EXAMPLES, torch.Generator().manual_seed(0))
        self.dtype = train.x.dtype
        if self.kind == "symbols":
            return
        rows = min(SEEN_EXAMPLES, max(SEEN_VALUES // max(train.x[0].numel(), 1), 1))
        seen = self.transform(train.x[:rows], False, None)
        self.seen_range = (float(seen.min()), float(seen.max()))
        self.has_bits = bool(((seen == 0) | (seen == 1)).all())

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        """Turn raw x, (batch, *shape), into what a model sees, on its device: float, scaled; augmented if `train`."""
        return x

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Undo the scaling of `transform`: return values (n, *shape) in the data's units, float64 where the device can.

        Where a class has a `transform` and no inverse of its own, two probes tell its scaling, which must be affine in
        each element; the answer is then as exact as float64 probes of it are.
        """
        if type(self).transform is Dataset.transform or not x.is_floating_point():
            return x
        shape = tuple(self.shape or ())
        if tuple(x.shape[1:]) != shape:
            return x
        wide, top = to_wide(x), float(getattr(self, "levels", 1.0))
        low = self.transform(wide.new_zeros(1, *shape), False, None)
        span = self.transform(wide.new_full((1, *shape), top), False, None) - low
        return torch.where(span == 0, wide, (wide - low) / torch.where(span == 0, 1, span) * top)

    def transform_on(self, x: Tensor, device: torch.device | str) -> Tensor:
        """Return raw x, (batch, *shape), as a model sees it in evaluation, on a device.

        What is held in float64 is scaled where it lies: not every device knows such numbers.
        """
        if x.dtype == torch.float64:
            return self.transform(x, False, None).to(device)
        return self.transform(x.to(device), False, None)

    def make_preprocessing(self) -> Preprocessing:
        """Make the module that leads from raw tensors to what a model sees in an exported graph, of what was fitted."""
        return Preprocessing(self)

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
            self.note(
                f"{self.source}: dataset.limit={self.limit} left out {len(rest) - self.limit} of {len(rest)} training "
                "examples"
            )
            rest, _ = split_stratified(rest, train.y, self.limit, generator)
        taken = self.take_parts(train, {"train": rest, **held_out})
        return {"train": taken["train"], **splits, **{name: taken[name] for name in held_out}}

    def take_parts(self, part: Split | Stream, rows: Mapping[str, Tensor]) -> Mapping[str, Part]:
        """Take examples at several `rows`, (n,) int64 and all different, out of a part that is not needed again."""
        return {name: part.take(index) for name, index in rows.items()}


def to_wide(x: Tensor) -> Tensor:
    """Convert to float64, where the device has it."""
    return x.float() if x.device.type == "mps" else x.double()
