"""The user's own arrays: an .npz file with inputs and targets, or an .npy file with inputs alone."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files, labels
from dlx.datasets.archives import check_archive
from dlx.datasets.dataset import Dataset
from dlx.datasets.images import arrays as arrays_of_pictures
from dlx.datasets.images.images import Images
from dlx.datasets.splits import Split, Stream
from dlx.datasets.tables.numbers import MAX_INTEGER
from dlx.datasets.tables.table import Table
from dlx.errors import UsageError
from dlx.types import Count, Fraction

SPLITS = ("train", "val", "test")


class Npz(Dataset):
    """Arrays whose first dimension counts examples: `x` and `y`, or `x_train`, `y_train`, `x_test`, … .

    Sequences that are padded at their ends come with `lengths`, or `lengths_train`, … .

    Args:
        path: of the file.
        x, y: names of the arrays, before `_train`, `_val`, `_test`; a file without `y` has no labels.
        layout: what an example is. `auto` takes (examples, features) for vectors, (examples, height, width) and
            four dimensions for images, channels first or last.
        target_type: `classes`, `numbers`, or `auto`: text, and up to twenty different whole numbers, are classes.
        scale: `auto` is `standard` for vectors and `unit` for images; `unit` divides bytes by 255 and leaves floats.
        scale_target: as in `Table`, for a regression.
        augment: as in `Images`.
        white: the value of pictures that stands for white, by which `unit` divides. `auto` takes 255 for bytes and for
            whole numbers from 0 to 255 of any type, leaves floats, and refuses greater whole numbers; `bytes` divides
            bytes alone.
        channels: which axis of (examples, …) pictures they are, `first` or `last`; `auto` takes the one of 1, 3 or 4,
            or the odd one out, and refuses where that does not tell.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
        symbols: their number, where the layout is of them; null takes what the data has.
    """

    fitted = ("target_type", "holds_bytes", "channels")
    held = ("scaler",)  # has a state of its own

    def __init__(
        self,
        path: str | None = None,
        x: str = "x",
        y: str = "y",
        layout: Literal["auto", "vector", "image", "sequence", "symbols"] = "auto",
        target_type: Literal["auto", "classes", "numbers"] = "auto",
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["auto", "none", "standard", "minmax", "unit", "symmetric"] = "auto",
        scale_target: Literal["none", "standard"] = "standard",
        augment: Mapping[str, Any] | None = None,
        symbols: Count | None = None,
        white: float | Literal["auto", "bytes"] = "auto",
        channels: Literal["auto", "first", "last"] = "auto",
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.symbols = symbols
        self.path, self.x, self.y, self.layout, self.target_type = path, x, y, layout, target_type
        self.scale, self.scale_target, self.augment = scale, scale_target, augment
        if not isinstance(white, str) and white <= 0:
            raise UsageError(f"dataset.white={white} was given; needed: a number above 0")
        self.white, self.channels = white, channels
        self.holds_bytes = False  # whole numbers that are read as bytes, whatever their type
        self.scaler: Images | Table | None = None  # scales and augments, once the layout is known

    @property
    def source(self) -> str:
        return str(self.path)

    def read(self) -> dict[str, Split | Stream]:
        path = files.require_path(self.path, "dataset.path", "FILE.npz")
        arrays = _read_arrays(path, self.x)
        names = {part: f"_{part}" if f"{self.x}_{part}" in arrays else "" for part in SPLITS}
        names = {part: end for part, end in names.items() if end or part == "train"}
        known = {f"{name}{end}" for name in (self.x, self.y, "lengths") for end in names.values()}
        others = [name for name in arrays if name not in known]
        if f"{self.x}{names['train']}" not in arrays:
            raise UsageError(
                f"{path} holds the arrays {', '.join(arrays) or 'none'}; needed: {self.x} or {self.x}_train; "
                "type dataset.x=NAME (and dataset.y=NAME for the targets)"
            )
        if others:
            self.note(f"{path}: {len(others)} other arrays passed over ({files.format_some(others)})")
        first = arrays[f"{self.x}{names['train']}"]
        if not self.is_fitted:
            self.kind = self._infer_kind(first)
        what = f"{path}: {self.x}{names['train']}"
        for name, value in (("white", self.white), ("channels", self.channels)):
            if self.kind != "image" and value not in ("auto", "bytes"):
                raise UsageError(f"dataset.{name}={value} was given; {path} holds {self.kind} data; leave it out")
        white = self.levels
        if not self.is_fitted:
            white = self._interpret_pictures(first, what) if self.kind == "image" else 1.0
        parts: dict[str, Split | Stream] = {}
        for part, end in names.items():
            x, y = arrays[f"{self.x}{end}"], arrays.get(f"{self.y}{end}")
            split = self._make_split(x, y, f"{path}: {self.x}{end}", f"{path}: {self.y}{end}")
            if self.kind in ("sequence", "symbols") and f"lengths{end}" in arrays:
                split = replace(
                    split, lengths=_check_lengths(arrays[f"lengths{end}"], split.x, f"{path}: lengths{end}")
                )
            parts[part] = split
        self._make_scaler(white)
        return parts

    def state_dict(self) -> dict[str, Any]:
        scaler = None if self.scaler is None else self.scaler.state_dict()
        return {**super().state_dict(), "levels": self.levels, "scaler": scaler}

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore({name: value for name, value in state.items() if name not in ("levels", "scaler")})
        self._make_scaler(state["levels"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])

    def _infer_kind(self, x: np.ndarray) -> str:
        if self.layout != "auto":
            return self.layout
        return {1: "vector", 2: "vector", 3: "image", 4: "image"}.get(x.ndim, "vector")

    def _interpret_pictures(self, x: np.ndarray, what: str) -> float:
        """Find which axis of the training pictures is the channels; return the value that stands for white."""
        if x.ndim == 3 and self.layout == "auto":
            self.note(f"{what}: {x.shape[1]}×{x.shape[2]} taken for grey pictures; type dataset.layout=sequence if not")
        if x.ndim == 4:
            declared, sizes = self.shape, x.shape[1:]
            is_last = arrays_of_pictures.find_channels_last(sizes, declared, self.channels, what)
            if self.channels == "auto" and (is_last or sizes[0] not in arrays_of_pictures.CHANNELS):
                count, axis = (sizes[2], "last") if is_last else (sizes[0], "first")
                self.note(f"{what}: the {axis} axis is taken for the {count} channels; type dataset.channels=… if not")
            self.channels = "last" if is_last else "first"
        if x.dtype.kind not in "biuf":
            return 1.0  # is refused
        given = "bytes" if self.white == "auto" and self.scale in ("none", "standard") else self.white
        white, note = arrays_of_pictures.find_white(x, given, what)
        if note is not None:
            self.note(note)
        self.holds_bytes = given == "auto" and white == arrays_of_pictures.BYTE
        return white

    def _make_split(self, values: np.ndarray, targets: np.ndarray | None, what: str, target: str) -> Split:
        if values.dtype.kind not in "biuf":
            raise UsageError(f"{what} holds values of type {values.dtype}; needed: numbers")
        if values.ndim == 0:
            raise UsageError(f"{what} is a single number; needed: an array whose first dimension counts examples")
        if values.dtype.kind in "iu" and self.kind not in ("image", "symbols") and not _fits_float64(values):
            self.note(f"{what}: whole numbers beyond 2^53 were rounded to float64")
        if values.dtype.kind == "f" and values.dtype.itemsize > 8 and (values.astype(np.float64) != values).any():
            self.note(f"{what}: values of type {values.dtype} were rounded to float64")
        x = self._arrange(torch.from_numpy(_to_supported_dtype(values)), what)
        if targets is None:
            if not self.is_fitted:
                self.names = self.vocabulary  # without labels, the classes are the symbols
            return Split(x)
        if len(targets) != len(values):
            raise UsageError(f"{what} has {len(values)} examples and {target} {len(targets)}; needed: the same number")
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim == 2 and labels.is_one_hot(targets):
            taken, other = ("classes", "numbers") if self.target_type == "classes" else ("numbers", "classes")
            self.note(f"{target}: rows with a single 1, taken for {taken}; dataset.target_type={other} if they are not")
        y, self.names, note = labels.encode_targets(targets, target, self.target_type, self.names)
        if note:
            self.note(note)
        self.target_type = "classes" if self.names else "numbers"  # the other parts follow
        if self.names and self.names != [str(i) for i in range(len(self.names))] and targets.dtype.kind in "biuf":
            self.note(f"{target}: the classes {files.format_some(self.names)} are numbered from 0")
        return Split(x, y)

    def _arrange(self, x: Tensor, what: str) -> Tensor:
        """Arrange examples as the layout has them: images (n, C, H, W), vectors (n, features)."""
        if self.kind == "symbols":
            if x.is_floating_point() or x.ndim != 2:
                raise UsageError(
                    f"{what} has shape {list(x.shape)} and type {x.dtype}; needed: (examples, time) integers"
                )
            self.vocabulary = self.vocabulary or [str(symbol) for symbol in range(int(x.max()) + 1)]
            if int(x.min()) < 0 or int(x.max()) >= len(self.vocabulary):
                raise UsageError(
                    f"{what} has symbols from {int(x.min())} to {int(x.max())}; needed: from 0 to "
                    f"{len(self.vocabulary) - 1}, as in the training part"
                )
            return x.long()
        if self.kind != "image":
            x = x if x.dtype == torch.float32 else x.double()  # it is scaled, and only then float32
            return x.view(len(x), 1) if x.ndim == 1 else x
        if x.ndim == 4 and self.channels == "last":
            x = x.permute(0, 3, 1, 2).contiguous()
        if x.ndim == 3:
            x = x[:, None]
        if x.ndim != 4:
            raise UsageError(
                f"{what} has shape {list(x.shape)}; needed: (examples, channels, height, width) for images"
            )
        if self.holds_bytes and x.dtype != torch.uint8:  # whole numbers of another type
            if float(x.min()) < 0 or float(x.max()) > arrays_of_pictures.BYTE or not bool((x == x.round()).all()):
                raise UsageError(
                    f"{what} has values from {float(x.min()):g} to {float(x.max()):g}; needed: whole numbers from 0 to "
                    "255, as in the training part; type dataset.white=… for the value that stands for white"
                )
            return x.to(torch.uint8)
        if x.dtype == torch.uint8:
            return x
        if x.dtype == torch.float64 and bool((x.float() != x).any()):
            self.note(f"{what}: pictures of type float64 were rounded to float32")
        return x.float()

    def _make_scaler(self, levels: float) -> None:
        """Make what scales: `Images` or `Table`, for images whose full intensity is `levels`."""
        if self.is_fitted and self.scaler is not None:
            return
        allowed = {"image": ("none", "unit", "symmetric", "standard"), "symbols": ("none",)}
        options = allowed.get(self.kind, ("none", "standard", "minmax"))
        default = {"image": "unit", "symbols": "none"}.get(self.kind, "standard")
        scale: Any = default if self.scale == "auto" else self.scale
        if scale not in options:
            raise UsageError(
                f"dataset.scale={scale} was given; {self.path} holds {self.kind} data: {', '.join(options)}"
            )
        if self.kind == "image":
            self.scaler = Images(seed=self.seed, scale=scale, augment=self.augment)
            self.scaler.levels = levels
            return
        if self.kind != "symbols":
            self.scaler = Table(scale=scale, scale_target=self.scale_target)

    @property
    def levels(self) -> float:
        """The value that stands for full intensity in images."""
        return self.scaler.levels if isinstance(self.scaler, Images) else 1.0

    def prepare(self, train: Split | Stream) -> None:
        if self.scaler is not None:
            self.scaler.splits, self.scaler.shape = self.splits, self.shape
            self.scaler.is_fitted = self.is_fitted
            self.scaler.prepare(train)
            self.target_mean, self.target_std = self.scaler.target_mean, self.scaler.target_std
            for note in self.scaler.notes:
                self.note(note.replace(self.scaler.source, self.source, 1))
        for name, part in self.splits.items():  # of pictures, say
            if isinstance(part, Split) and part.y is not None and part.y.dtype == torch.float64:
                self.splits[name] = replace(part, y=part.y.float())

    def random(self, train: bool) -> bool:
        return self.scaler is not None and self.scaler.random(train)

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        return x if self.scaler is None else self.scaler.transform(x, train, generator)

    def inverse_transform(self, x: Tensor) -> Tensor:
        return x if self.scaler is None else self.scaler.inverse_transform(x)


def _read_arrays(path: Path, x: str) -> dict[str, np.ndarray]:
    """Read the arrays of a file, by name; an .npy file has one, `x`."""
    try:
        # Without pickle: a stranger's file is data, not code.
        if zipfile.is_zipfile(path):
            check_archive(path, files.get_free_memory())
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {x: loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); needed: arrays of numbers, such as numpy.savez({path.name!r}, x=x, y=y) "
            "writes"
        ) from error


def _check_lengths(values: np.ndarray, x: Tensor, what: str) -> Tensor:
    if values.shape != (len(x),) or values.dtype.kind not in "iu" or values.min() < 1 or values.max() > x.shape[1]:
        raise UsageError(
            f"{what} has shape {list(values.shape)}; needed: {len(x)} whole numbers from 1 to {x.shape[1]}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _fits_float64(values: np.ndarray) -> bool:
    """Return whether whole numbers are told apart as float64."""
    return not values.size or max(abs(int(values.min())), abs(int(values.max()))) <= MAX_INTEGER


def _to_supported_dtype(values: np.ndarray) -> np.ndarray:
    """Convert to a type and byte order that torch knows."""
    if values.dtype.kind == "u" and values.dtype != np.uint8:
        values = values.astype(np.int64 if _fits_float64(values) else np.float64)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
