"""Read inputs for prediction: arrays, tables and images, brought into the form of a dataset's raw examples."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets import files
from dlx.datasets.archives import check_archive
from dlx.datasets.dataset import Dataset
from dlx.datasets.images.image_folder import (
    IMAGE_EXTENSIONS,
    CorruptPictureError,
    DecodeSettings,
    ImageFolder,
    PictureDataset,
    format_changes,
    list_picture_files,
)
from dlx.datasets.sequences.padding import pad_sequences
from dlx.datasets.splits import Split, Stream
from dlx.datasets.tables import delimited
from dlx.datasets.tables.delimited import DelimitedTable
from dlx.errors import UsageError

TARGETS = ("target", "label", "class", "y")  # names of columns that hold no feature
KINDS = (
    ".npy, .npz, .csv, .txt, an image, a folder or .zip of images, or a file as the training data had it (.ts, .mat, …)"
)


class Inputs(NamedTuple):
    """Examples to predict for."""

    x: Tensor  # (examples, *shape), raw: what the dataset's `transform` takes
    files: list[str] | None = None  # where each came from, if each has a file of its own
    note: str | None = None  # what was done to them, for the user
    lengths: Tensor | None = None  # (examples,) of sequences that are padded
    steps: list[list[str]] | None = None  # names of their steps, if they have any


def read_inputs(path: Path, dataset: Dataset) -> Inputs:
    """Read the examples of a file or a folder.

    Args:
        path: .npy, .npz, .csv, .txt, an image, a folder of images, or a file in the format of the dataset's own.
        dataset: loaded; the one that the model was trained on.

    Raises:
        UsageError: it does not exist, cannot be read, or does not hold examples of the dataset's shape.
    """
    if not path.exists():
        raise UsageError(f"{path} was given; there is no such file; needed: {KINDS}")
    before = set(dataset.notes)
    given = _read(path, dataset)
    notes = [*([given.note] if given.note else []), *(note for note in dataset.notes if note not in before)]
    return given._replace(note="\n".join(notes) or None)


def _read(path: Path, dataset: Dataset) -> Inputs:
    suffix = path.suffix.lower()
    if suffix in (*IMAGE_EXTENSIONS, ".zip") or (path.is_dir() and not dataset.folders):
        return _read_images(path, dataset)
    if suffix in (".npy", ".npz"):
        return Inputs(as_examples(_read_array(path, dataset), dataset, str(path)))
    if type(dataset).inputs is not Dataset.inputs:
        given = dataset.inputs(path)
        return Inputs(as_examples(given.x, dataset, str(path)), lengths=given.lengths, steps=dataset.steps(path))
    if suffix in (".csv", ".tsv", ".txt"):
        return Inputs(as_examples(_read_table(path, dataset), dataset, str(path)))
    raise UsageError(f"{path} was given; needed: {KINDS}")


def as_inputs(values: Any, dataset: Dataset) -> Inputs:
    """Convert values as `as_examples` does; sequences of different lengths may be given as a list."""
    if isinstance(values, list | tuple) and dataset.kind in ("sequence", "symbols"):
        parts = [as_examples(value, dataset) for value in values]
        if parts and all(len(part) == 1 for part in parts) and len({part.shape for part in parts}) > 1:
            x, lengths = pad_sequences([part[0] for part in parts])
            return Inputs(x, lengths=lengths)
    return Inputs(as_examples(values, dataset))


def as_examples(values: Any, dataset: Dataset, what: str = "the input") -> Tensor:
    """Convert an array or tensor to raw examples (n, *shape) of the dataset, in its dtype.

    A single example may lack its leading dimension; rows may be flat; a single channel may be missing, and channels
    may come last. For a dataset of bytes, values in [0, 1] are fractions of full intensity. What is guessed or cast
    leaves a note with the dataset.

    Raises:
        UsageError: the shape does not fit, or values cannot be represented in the dataset's dtype.
    """
    try:
        x = values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} is not an array of numbers ({error}); needed: {_describe_needed(dataset)}") from error
    if x.is_complex():
        raise UsageError(f"{what} holds complex numbers; needed: {_describe_needed(dataset)}")
    x = _to_shape(x, dataset, what)
    if len(x) == 0:
        raise UsageError(f"{what} holds no examples; needed: at least one")
    return _to_dtype(x, dataset, what)


def _describe_needed(dataset: Dataset) -> str:
    free = " (or of another number of steps)" if dataset.kind in ("sequence", "symbols") else ""
    return f"examples of shape {list(dataset.shape or ())}{free}, as dataset {dataset.source} has them"


def _to_shape(x: Tensor, dataset: Dataset, what: str) -> Tensor:
    shape = tuple(dataset.shape or ())
    size = int(np.prod(shape))
    given = tuple(x.shape)
    if given[1:] == shape:
        # All sides may be equal: then the axes are those of the training data.
        is_last = given[1:] == (*shape[1:], shape[0]) and getattr(dataset, "channels", None) == "last"
        return x.movedim(-1, 1) if is_last and len(shape) == 3 else x
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
        if shape[0] > 1:
            dataset.note(f"{what}: the last axis is taken for the {shape[0]} channels")
        return x.movedim(-1, 1)
    if len(shape) == 3 and given == (*shape[1:], shape[0]):
        return x.movedim(-1, 0)[None]
    trimmed = tuple(n for n in shape if n != 1)  # without the one channel of a grey image
    if given in ((size,), trimmed):
        return x.reshape(1, *shape)
    if given and given[1:] in ((size,), trimmed):
        return x.reshape(-1, *shape)
    raise UsageError(
        f"{what} has shape {list(given)}; needed: (examples, {', '.join(map(str, shape))}): {_describe_needed(dataset)}"
    )


def _to_dtype(x: Tensor, dataset: Dataset, what: str) -> Tensor:
    dtype = get_dtype(dataset)
    if x.is_floating_point():
        bad = ~x.isfinite()
        if bad.any():
            place = [int(i) for i in bad.nonzero()[0]]
            raise UsageError(f"{what} holds {float(x[tuple(place)])} at {place}; needed: finite numbers")
    if dtype.is_floating_point:
        cast, name = x.to(dtype), str(dtype).removeprefix("torch.")
        if not bool(cast.isfinite().all()):
            raise UsageError(f"{what} holds values too large for {name}; needed: smaller ones")
        if not x.is_floating_point() and bool((cast.to(x.dtype) != x).any()):
            dataset.note(f"{what}: whole numbers were rounded to {name}")
        return cast
    levels = float(getattr(dataset, "levels", 255))
    if dtype == torch.uint8 and x.is_floating_point() and float(x.min()) >= 0 and float(x.max()) <= 1:
        dataset.note(f"{what}: values from 0 to 1 are taken for fractions of white, and rounded to {levels:g} steps")
        return (x * levels).round().to(dtype)
    high = levels if dtype == torch.uint8 else (dataset.symbols or dataset.classes or 0) - 1
    whole = not x.is_floating_point() or bool((x == x.round()).all())
    if not whole or float(x.min()) < 0 or (high > 0 and float(x.max()) > high):
        raise UsageError(
            f"{what} has values from {float(x.min()):g} to {float(x.max()):g}{'' if whole else ', not all whole'}; "
            f"needed: whole numbers from 0 to {high:g}, as dataset {dataset.source} has them"
        )
    return x.to(dtype)


def get_dtype(dataset: Dataset) -> torch.dtype:
    """Return the dtype of a dataset's raw examples."""
    if dataset.dtype is not None:
        return dataset.dtype
    train = dataset.splits["train"]
    if isinstance(train, Stream):
        result: torch.dtype = train.data[0][0].dtype
        return result
    return train.x.dtype if isinstance(train, Split) else torch.float32


def _read_array(path: Path, dataset: Dataset) -> np.ndarray:
    try:
        if zipfile.is_zipfile(path):
            check_archive(path, files.get_free_memory())
        content = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy and zipfile fail in many ways on bytes that are not theirs
        raise UsageError(f"{path} cannot be read ({error}); needed: an array of numbers that numpy saved") from error
    if isinstance(content, np.ndarray):
        return content
    with content:
        name = "x" if "x" in content.files else content.files[0] if len(content.files) == 1 else None
        if name is None:
            raise UsageError(f"{path} holds {', '.join(content.files) or 'nothing'}; needed: one array, or one named x")
        others = [other for other in content.files if other != name]
        if others:
            dataset.note(f"{path}: {len(others)} other arrays passed over ({files.format_some(others)})")
        try:
            result: np.ndarray = content[name]
            return result
        except ValueError as error:  # an array of objects, which would need pickle
            raise UsageError(f"{path}: {name} cannot be read ({error}); needed: an array of numbers") from error


def _read_table(path: Path, dataset: Dataset) -> Tensor:
    """Read rows of numbers; columns are matched by name where both the file and the dataset have names."""
    table = delimited.read_table(path)
    columns, places = [], _find_feature_columns(table, dataset)
    others = [name for place, name in enumerate(table.names) if place not in places]
    left_out = f"{path}: {len(others)} of {len(table.names)} columns not used ({files.format_some(others)})"
    for note in (*table.file.notes, *([left_out] if others else [])):
        dataset.note(note)
    for place in places:
        numbers, row = table.get_numbers(place), table.first_text.get(place)
        if row is None and np.isnan(numbers).any():
            row = int(np.isnan(numbers).argmax())
        if row is not None:
            raise UsageError(
                f"{table.describe_cell(row, place)}: {table.read_cell(row, place)!r} was given; needed: a number"
            )
        columns.append(numbers)
    return torch.from_numpy(np.stack(columns, 1))


def _find_feature_columns(table: DelimitedTable, dataset: Dataset) -> list[int]:
    """Return the indices of the feature columns: the target's is left out where the header names it."""
    size, width = int(np.prod(dataset.shape or ())), len(table.names)
    if table.has_header and dataset.columns:
        missing = [name for name in dataset.columns if name not in table.names]
        if not missing:
            return [table.names.index(name) for name in dataset.columns]
        if set(dataset.columns) & set(table.names):
            raise UsageError(
                f"{table.path} lacks the columns {', '.join(missing)}; needed: {', '.join(dataset.columns)}"
            )
    if table.has_header and width == size + 1:
        target = [i for i, name in enumerate(table.names) if name.lower() in TARGETS]
        if len(target) == 1:
            return [i for i in range(width) if i != target[0]]
    if width != size:
        raise UsageError(
            f"{table.path} has {width} columns; needed: {size}: {_describe_needed(dataset)}, without a target"
        )
    return list(range(width))


def _read_images(path: Path, dataset: Dataset) -> Inputs:
    shape = tuple(getattr(dataset, "pixels", dataset.shape or ()))
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(f"{path} was given; needed: {_describe_needed(dataset)}, which are not images")
    is_archive = path.suffix.lower() == ".zip"
    folder = path if path.is_dir() or is_archive else path.parent
    names, others = list_picture_files(path) if path.is_dir() or is_archive else ([path.name], [])
    if not names:
        raise UsageError(f"{path} holds no images ({', '.join(sorted(IMAGE_EXTENSIONS))})")
    white = dataset.white if isinstance(dataset, ImageFolder) else None
    settings = DecodeSettings(folder, shape[1], shape[2], shape[0], requires_size=False, white=white)
    reader = PictureDataset(names, None, settings)
    dtype, levels = get_dtype(dataset), float(getattr(dataset, "levels", 255))
    skips = isinstance(dataset, ImageFolder) and dataset.corrupt == "skip"  # as in training
    rows, decoded, corrupt = [], [], []
    for name in names:
        try:
            found = reader.decode(name)
        except CorruptPictureError as error:
            if skips:
                corrupt.append(name)
                continue
            raise UsageError(
                f"the image {folder / name} cannot be read ({error.__cause__}); correct or remove it"
            ) from error
        scaled = found.pixels.float() * (levels / 255)
        rows.append(scaled if dtype.is_floating_point else scaled.round().to(dtype))
        decoded.append(found._replace(pixels=None))
    if not rows:
        raise UsageError(f"{path}: none of the {len(names)} images can be decoded")
    notes = [files.format_passed_over(others)] if others else []
    if corrupt:
        notes.append(f"{len(corrupt)} images cannot be decoded and were left out ({files.format_some(corrupt)})")
    notes += format_changes(decoded, (shape[2], shape[1]))
    kept = [name for name in names if name not in set(corrupt)]
    x = torch.stack(rows).to(dtype).view(-1, *(dataset.shape or shape))
    return Inputs(x, [str(path)] if path.is_file() and not is_archive else kept, "\n".join(notes) or None)
