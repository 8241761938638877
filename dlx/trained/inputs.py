"""What is given for prediction: arrays, tables and images, in the form in which a dataset holds its examples."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset, Split, Stream
from dlx.datasets.images.image_folder import IMAGE_EXTENSIONS, DecodeSettings, PictureDataset
from dlx.datasets.sequences.padding import pad_sequences
from dlx.datasets.tables import delimited
from dlx.datasets.tables.delimited import DelimitedTable
from dlx.errors import UsageError

TARGETS = ("target", "label", "class", "y")  # names of a column that is no feature
KINDS = ".npy, .npz, .csv, .txt, an image, a folder of images, or a file as the training data had it (.ts, .mat, …)"


class Inputs(NamedTuple):
    """Examples to predict for."""

    x: Tensor  # (examples, *shape), raw: what the dataset's `transform` takes
    files: list[str] | None = None  # where each came from, if each has a file of its own
    note: str | None = None  # what was done to them
    lengths: Tensor | None = None  # (examples,) of sequences that are padded
    steps: list[list[str]] | None = None  # what their steps are called, if they have names


def read(path: Path, dataset: Dataset) -> Inputs:
    """The examples of a file or a folder.

    Args:
        path: .npy, .npz, .csv, .txt, an image, a folder of images, or what the dataset's own files are like.
        dataset: loaded; the one that the model was trained on.

    Raises:
        UsageError: it is not there, cannot be read, or does not hold examples of the dataset's shape.
    """
    if not path.exists():
        raise UsageError(f"{path} was given; there is no such file; needed: {KINDS}")
    suffix = path.suffix.lower()
    if suffix in IMAGE_EXTENSIONS or (path.is_dir() and not dataset.folders):
        return _images(path, dataset)
    if suffix in (".npy", ".npz"):
        return Inputs(examples(_array(path), dataset, str(path)))
    if type(dataset).inputs is not Dataset.inputs:
        before = len(dataset.notes)
        given = dataset.inputs(path)
        note = "; ".join(dataset.notes[before:]) or None
        return Inputs(examples(given.x, dataset, str(path)), None, note, given.lengths, dataset.steps(path))
    if suffix in (".csv", ".tsv", ".txt"):
        return Inputs(examples(_table(path, dataset), dataset, str(path)))
    raise UsageError(f"{path} was given; needed: {KINDS}")


def several(values: Any, dataset: Dataset) -> Inputs:
    """As `examples`; sequences of different lengths may be given as a list."""
    if isinstance(values, list | tuple) and dataset.kind in ("sequence", "symbols"):
        parts = [examples(value, dataset) for value in values]
        if parts and all(len(part) == 1 for part in parts) and len({part.shape for part in parts}) > 1:
            x, lengths = pad_sequences([part[0] for part in parts])
            return Inputs(x, lengths=lengths)
    return Inputs(examples(values, dataset))


def examples(values: Any, dataset: Dataset, what: str = "the input") -> Tensor:
    """An array or tensor as raw examples (n, *shape) of the dataset, in its type.

    One example may stand without its leading dimension; rows may be flat; a single channel may be missing, and
    channels may come last. For a dataset of bytes, fractions in [0, 1] are taken as such parts of full intensity.

    Raises:
        UsageError: the shape is another, or values cannot be of the dataset's type.
    """
    try:
        x = values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} is not an array of numbers ({error}); needed: {_needed(dataset)}") from error
    if x.is_complex():
        raise UsageError(f"{what} holds complex numbers; needed: {_needed(dataset)}")
    x = _shaped(x, dataset, what)
    if len(x) == 0:
        raise UsageError(f"{what} holds no examples; needed: at least one")
    return _typed(x, dataset, what)


def _needed(dataset: Dataset) -> str:
    free = " (or of another number of steps)" if dataset.kind in ("sequence", "symbols") else ""
    return f"examples of shape {list(dataset.shape or ())}{free}, as dataset {dataset.source} has them"


def _shaped(x: Tensor, dataset: Dataset, what: str) -> Tensor:
    shape = tuple(dataset.shape or ())
    size = int(np.prod(shape))
    given = tuple(x.shape)
    if given[1:] == shape:
        return x
    if given == shape:
        return x[None]
    if dataset.kind in ("sequence", "symbols") and x.numel():  # of any number of steps
        if len(given) == len(shape) + 1 and given[2:] == shape[1:]:
            return x
        if len(given) == len(shape) and given[1:] == shape[1:]:
            return x[None]
    pixels = tuple(getattr(dataset, "pixels", ()))  # of an image that is read as a sequence
    if pixels and given[-2:] == pixels[1:] and x.numel() % size == 0:
        return x.reshape(-1, *shape)
    if len(shape) == 3 and given[1:] == (*shape[1:], shape[0]):  # channels last
        return x.movedim(-1, 1)
    if len(shape) == 3 and given == (*shape[1:], shape[0]):
        return x.movedim(-1, 0)[None]
    trimmed = tuple(n for n in shape if n != 1)  # without the one channel of a grey image
    if given in ((size,), trimmed):
        return x.reshape(1, *shape)
    if given and given[1:] in ((size,), trimmed):
        return x.reshape(-1, *shape)
    raise UsageError(
        f"{what} has shape {list(given)}; needed: (examples, {', '.join(map(str, shape))}): {_needed(dataset)}"
    )


def _typed(x: Tensor, dataset: Dataset, what: str) -> Tensor:
    kept = dtype(dataset)
    if x.is_floating_point():
        bad = ~x.isfinite()
        if bad.any():
            place = [int(i) for i in bad.nonzero()[0]]
            raise UsageError(f"{what} holds {float(x[tuple(place)])} at {place}; needed: finite numbers")
    if kept.is_floating_point:
        return x.to(kept)
    levels = float(getattr(dataset, "levels", 255))
    if kept == torch.uint8 and x.is_floating_point() and float(x.min()) >= 0 and float(x.max()) <= 1:
        return (x * levels).round().to(kept)
    high = levels if kept == torch.uint8 else (dataset.symbols or dataset.classes or 0) - 1
    whole = not x.is_floating_point() or bool((x == x.round()).all())
    if not whole or float(x.min()) < 0 or (high > 0 and float(x.max()) > high):
        raise UsageError(
            f"{what} has values from {float(x.min()):g} to {float(x.max()):g}{'' if whole else ', not all whole'}; "
            f"needed: whole numbers from 0 to {high:g}, as dataset {dataset.source} has them"
        )
    return x.to(kept)


def dtype(dataset: Dataset) -> torch.dtype:
    """The type in which a dataset holds its examples."""
    train = dataset.splits["train"]
    if isinstance(train, Stream):
        return train.data[0][0].dtype
    return train.x.dtype if isinstance(train, Split) else torch.float32


def _array(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy and zipfile fail in many ways on bytes that are not theirs
        raise UsageError(f"{path} cannot be read ({error}); needed: an array of numbers that numpy saved") from error
    if isinstance(found, np.ndarray):
        return found
    with found:
        name = "x" if "x" in found.files else found.files[0] if len(found.files) == 1 else None
        if name is None:
            raise UsageError(f"{path} holds {', '.join(found.files) or 'nothing'}; needed: one array, or one named x")
        try:
            return found[name]
        except ValueError as error:  # an array of objects, which would need pickle
            raise UsageError(f"{path}: {name} cannot be read ({error}); needed: an array of numbers") from error


def _table(path: Path, dataset: Dataset) -> Tensor:
    """Rows of numbers; columns are found by their names where both the file and the dataset have names."""
    found = delimited.read_table(path)
    columns = []
    for place in _columns(found, dataset):
        numbers, row = found.get_numbers(place), found.first_text.get(place)
        if row is None and np.isnan(numbers).any():
            row = int(np.isnan(numbers).argmax())
        if row is not None:
            raise UsageError(
                f"{found.describe_cell(row, place)}: {found.read_cell(row, place)!r} was given; needed: a number"
            )
        columns.append(numbers)
    return torch.from_numpy(np.stack(columns, 1))


def _columns(found: DelimitedTable, dataset: Dataset) -> list[int]:
    """Which columns hold the features: the target's is left out where the header names it."""
    size, width = int(np.prod(dataset.shape or ())), len(found.names)
    if found.has_header and dataset.columns:
        missing = [name for name in dataset.columns if name not in found.names]
        if not missing:
            return [found.names.index(name) for name in dataset.columns]
        if set(dataset.columns) & set(found.names):
            raise UsageError(
                f"{found.path} lacks the columns {', '.join(missing)}; needed: {', '.join(dataset.columns)}"
            )
    if found.has_header and width == size + 1:
        target = [i for i, name in enumerate(found.names) if name.lower() in TARGETS]
        if len(target) == 1:
            return [i for i in range(width) if i != target[0]]
    if width != size:
        raise UsageError(f"{found.path} has {width} columns; needed: {size}: {_needed(dataset)}, without a target")
    return list(range(width))


def _images(path: Path, dataset: Dataset) -> Inputs:
    shape = tuple(getattr(dataset, "pixels", dataset.shape or ()))
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(f"{path} was given; needed: {_needed(dataset)}, which are no images")
    folder = path if path.is_dir() else path.parent
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_EXTENSIONS) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"the folder {path} holds no images ({', '.join(sorted(IMAGE_EXTENSIONS))})")
    names = [file.relative_to(folder).as_posix() for file in files]
    reader = PictureDataset(names, None, DecodeSettings(folder, shape[1], shape[2], shape[0], requires_size=False))
    kept, levels = dtype(dataset), float(getattr(dataset, "levels", 255))
    x = torch.empty((len(files), *shape), dtype=kept)
    sizes = set()
    for i, name in enumerate(names):
        try:
            scaled = reader.decode_picture(name).float() * (levels / 255)
        except UsageError as error:
            raise UsageError(
                f"the image {files[i]} cannot be read ({error.__cause__}); correct or remove it"
            ) from error
        x[i] = scaled if kept.is_floating_point else scaled.round()
        sizes.add(_size(files[i]))
    note = _resized(sizes - {(shape[2], shape[1])}, shape)
    return Inputs(x.view(-1, *(dataset.shape or shape)), [str(path)] if path.is_file() else names, note)


def _size(file: Path) -> tuple[int, int]:
    """Width and height of an image, upright."""
    from PIL import Image

    with Image.open(file) as opened:
        width, height = opened.size
        return (height, width) if opened.getexif().get(274, 1) >= 5 else (width, height)  # EXIF: on its side


def _resized(sizes: set[tuple[int, int]], shape: tuple[int, ...]) -> str | None:
    if not sizes:
        return None
    width, height = min(sizes)
    others = f" and {len(sizes) - 1} other sizes" if len(sizes) > 1 else ""
    return f"images of {width}×{height}{others} were brought to {shape[2]}×{shape[1]} pixels"
