"""What is given for prediction: arrays, tables and images, in the form in which a dataset holds its examples."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset, Split
from dlx.errors import UsageError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
KINDS = ".npy, .npz, .csv, .txt, an image, or a folder of images"


class Inputs(NamedTuple):
    """Examples to predict for."""

    x: Tensor  # (examples, *shape), raw: what the dataset's `transform` takes
    files: list[str] | None = None  # where each came from, if each has a file of its own
    note: str | None = None  # what was done to them


def read(path: Path, dataset: Dataset) -> Inputs:
    """The examples of a file or a folder.

    Args:
        path: .npy, .npz, .csv, .txt, an image, or a folder of images.
        dataset: loaded; the one that the model was trained on.

    Raises:
        UsageError: it is not there, cannot be read, or does not hold examples of the dataset's shape.
    """
    if not path.exists():
        raise UsageError(f"{path} was given; there is no such file; needed: {KINDS}")
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in IMAGES:
        return _images(path, dataset)
    if suffix in (".npy", ".npz"):
        return Inputs(examples(_array(path), dataset, str(path)))
    if type(dataset).inputs is not Dataset.inputs:
        return Inputs(examples(dataset.inputs(path), dataset, str(path)))
    if suffix in (".csv", ".tsv", ".txt"):
        return Inputs(examples(_table(path, dataset), dataset, str(path)))
    raise UsageError(f"{path} was given; needed: {KINDS}")


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
    return f"examples of shape {list(dataset.shape or ())}, as dataset {dataset.source} has them"


def _shaped(x: Tensor, dataset: Dataset, what: str) -> Tensor:
    shape = tuple(dataset.shape or ())
    size = int(np.prod(shape))
    given = tuple(x.shape)
    if given[1:] == shape:
        return x
    if given == shape:
        return x[None]
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
    high = levels if kept == torch.uint8 else (dataset.classes or 0) - 1
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
    return train.x.dtype if isinstance(train, Split) else train.data[0][0].dtype


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
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows: list[list[str]]
    if delimiter in first:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    else:
        rows = [line.split() for line in text.splitlines()]
    lines = [(number, row) for number, row in enumerate(rows, 1) if any(row)]
    if not lines:
        raise UsageError(f"{path} holds no rows; needed: {_needed(dataset)}")
    header = lines[0][1] if any(_value(cell) is None for cell in lines[0][1]) else None
    if header is not None:
        lines = lines[1:]
    width = len(header or lines[0][1])
    chosen = _columns(header, width, dataset, path)
    values = np.empty((len(lines), len(chosen)))
    for i, (number, row) in enumerate(lines):
        if len(row) != width:
            raise UsageError(f"{path}, line {number} has {len(row)} columns; needed: {width}, as in the first line")
        for j, column in enumerate(chosen):
            value = _value(row[column])
            if value is None:
                name = header[column] if header else column
                raise UsageError(f"{path}, line {number}, column {name}: {row[column]!r} was given; needed: a number")
            values[i, j] = value
    return torch.from_numpy(values)


def _columns(header: Sequence[str] | None, width: int, dataset: Dataset, path: Path) -> list[int]:
    """Which columns hold the features: the target's is left out where the header names it."""
    size = int(np.prod(dataset.shape or ()))
    if header is not None and dataset.columns:
        missing = [name for name in dataset.columns if name not in header]
        if not missing:
            return [header.index(name) for name in dataset.columns]
        if set(dataset.columns) & set(header):
            raise UsageError(f"{path} lacks the columns {', '.join(missing)}; needed: {', '.join(dataset.columns)}")
    if header is not None and width == size + 1:
        target = str(getattr(dataset, "target", None) or "target")
        named = [
            i for i, name in enumerate(header) if name.lower() in (target.lower(), "target", "label", "class", "y")
        ]
        if len(named) == 1:
            return [i for i in range(width) if i != named[0]]
    if width != size:
        raise UsageError(f"{path} has {width} columns; needed: {size}: {_needed(dataset)}, without a target")
    return list(range(width))


def _value(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _images(path: Path, dataset: Dataset) -> Inputs:
    shape = dataset.shape or ()
    if len(shape) != 3 or shape[0] not in (1, 3, 4):
        raise UsageError(f"{path} was given; needed: {_needed(dataset)}, which are no images")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES)
    if not files:
        raise UsageError(f"the folder {path} holds no images ({', '.join(IMAGES)})")
    kept = dtype(dataset)
    levels = float(getattr(dataset, "levels", 255))
    x = torch.empty((len(files), *shape), dtype=kept)
    resized: set[tuple[int, int]] = set()
    for i, file in enumerate(files):
        pixels, size = _image(file, shape)
        if size != (shape[2], shape[1]):
            resized.add(size)
        scaled = pixels.float() * (levels / 255)
        x[i] = scaled if kept.is_floating_point else scaled.round().to(kept)
    note = None
    if resized:
        width, height = min(resized)
        others = f" and {len(resized) - 1} other sizes" if len(resized) > 1 else ""
        note = f"images of {width}×{height}{others} were resized to {shape[2]}×{shape[1]} pixels"
    names = [str(file if path.is_file() else file.relative_to(path)) for file in files]
    return Inputs(x, names, note)


def _image(file: Path, shape: tuple[int, ...]) -> tuple[Tensor, tuple[int, int]]:
    """Pixels (C, H, W) uint8, and the file's own (width, height)."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"the image {file} cannot be read ({error}); correct or remove it") from error
    size = image.size
    if size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return torch.from_numpy(np.array(image)).view(height, width, channels).movedim(-1, 0), size
