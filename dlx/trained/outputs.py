"""Write predictions and samples: rows of text, numpy arrays, or images."""

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.errors import UsageError
from dlx.figures.figures import make_grid, save_png
from dlx.trained.stepwise import Steps

Row = dict[str, Any]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets take for the beginning of a formula


def make_rows(
    columns: Mapping[str, Tensor],
    names: Sequence[str] | None,
    files: Sequence[str] | None = None,
    steps: Steps | None = None,
) -> list[Row]:
    """Return one mapping of names to values for each example, or for each of its steps.

    Args:
        columns: (examples,) or (examples, k) each.
        names: of the classes; labels and predicted symbols are shown by them, and so are columns of one value for each.
        files: that the examples came from.
        steps: of sequences, for which columns are (examples, T) or (examples, T, k).

    Returns:
        Rows. Floats have no more digits than it takes to read the same number back, in the precision that they were
        computed in. A column of several values per example becomes as many columns, named by class or number.
    """
    table: dict[str, list[Any]] = {}
    if steps is not None:
        table, columns = steps.index_columns(), steps.flatten(columns)
    elif files is not None:
        table["file"] = list(files)
    for name, values in columns.items():
        flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if flat.ndim == 1:
            is_label = names and name in ("label", "prediction") and not flat.is_floating_point()
            table[name] = [names[v] if is_label and names and 0 <= v < len(names) else v for v in _to_list(flat)]
        else:
            flat = flat.flatten(1)
            same = names is not None and len(names) == flat.shape[1]
            for k in range(flat.shape[1]):
                table[f"{name}_{names[k] if same and names else k}"] = _to_list(flat[:, k])
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def _to_list(values: Tensor) -> list[Any]:
    """List numbers (n,); single-precision ones as the shortest decimals that round to them: 0.1, not 0.10000000149."""
    if values.dtype in (torch.float32, torch.float16):
        return [float(text) for text in values.numpy().astype(str)]
    return values.tolist()


def format_lines(values: Tensor, dataset: Dataset, steps: Steps | None = None) -> list[str]:
    """Return a line of text for each example: decoded where the dataset is text, else its numbers.

    Sentences with a label for each word become a line for each word, and an empty one after each sentence.
    """
    if steps is not None and steps.names is not None and dataset.names and not values.is_floating_point():
        rows = zip(steps.names, values.tolist(), strict=True)
        return [
            line
            for words, row in rows
            for line in [*(f"{word}\t{dataset.names[k]}" for word, k in zip(words, row, strict=False)), ""]
        ]
    if steps is not None:
        parts = [row[:n] for row, n in zip(values, steps.lengths.tolist(), strict=True)]
        return [
            text
            for part in parts
            for text in (format_lines(part[None], dataset) if part.ndim == 1 else format_lines(part, dataset))
        ]
    decode = getattr(dataset, "decode", None)
    if callable(decode) and not values.is_floating_point() and values.ndim == 2:
        return [str(decode(row)) for row in values]
    return [" ".join(map(repr, _to_list(row.flatten()))) for row in values]


def write_csv(table: Sequence[Row], file: TextIO | None = None) -> None:
    """Write rows as CSV with a header, to standard output if no file is given; floats read back unchanged.

    Text that a spreadsheet would compute, such as a class named `=1+1`, is written with an apostrophe before it.
    """
    out = csv.writer(file or sys.stdout, lineterminator="\n")
    out.writerow(map(disarm_formula, table[0]))
    out.writerows([repr(v) if isinstance(v, float) else disarm_formula(v) for v in row.values()] for row in table)


def disarm_formula(value: Any) -> Any:
    """Return a cell so that a spreadsheet shows it as it is; numbers, as text too, are returned unchanged."""
    if not isinstance(value, str) or not value.startswith(FORMULA_STARTS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def save(
    path: Path,
    columns: Mapping[str, Tensor],
    dataset: Dataset,
    files: Sequence[str] | None = None,
    steps: Steps | None = None,
    row_labels: Tensor | None = None,
) -> list[Path]:
    """Write columns in the format of the file's ending: .csv, .npz, .npy, .txt, .png (the first column), or a folder.

    Args:
        path: where; a name without an ending is a folder of images.
        columns: (examples, ...) each.
        dataset: loaded; its class names, and what its intensities mean.
        files: that the examples came from; a folder's images are named like them.
        steps: of sequences with a prediction at each of them.
        row_labels: (examples,) sorted labels: a picture of all examples then has a row for each label.

    Returns:
        The paths written.

    Raises:
        UsageError: the ending is unknown, the values do not fit it, or the path cannot be written.
    """
    first = next(iter(columns.values()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        match path.suffix.lower():
            case ".csv":
                table = make_rows(columns, dataset.names, files, steps)
                with path.open("w", newline="", encoding="utf-8") as file:
                    write_csv(table, file)
            case ".npz":
                arrays = {name: value.numpy() for name, value in columns.items()}
                arrays |= {"lengths": steps.lengths.numpy()} if steps else {}
                np.savez(path, **arrays, **({"files": np.array(files)} if files else {}))  # type: ignore[arg-type]
            case ".txt":
                path.write_text("\n".join(format_lines(first, dataset, steps)) + "\n", encoding="utf-8")
            case ".npy":
                np.save(path, first.numpy(), allow_pickle=False)
            case ".png":
                images = _to_pixels(first, dataset, path)
                save_png(path, images[0] if len(images) == 1 else _make_contact_sheet(images, row_labels))
            case "":
                return _save_folder(path, _to_pixels(first, dataset, path), files)
            case other:
                raise UsageError(f"-o {path} was given; needed: .csv, .txt, .npz, .npy, .png or a folder, not {other}")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); type -o with another place") from error
    return [path]


def is_images(values: Tensor) -> bool:
    """Tell whether values (n, ...) are images: (n, 1, H, W) or (n, 3, H, W)."""
    return values.ndim == 4 and values.shape[1] in (1, 3)


def _to_pixels(values: Tensor, dataset: Dataset, path: Path) -> Tensor:
    """Convert images in the units of the data to bytes (n, C, H, W)."""
    shape = tuple(dataset.shape or ())
    if values.ndim == 2 and len(shape) == 3 and values.shape[1] == math.prod(shape):
        values = values.view(-1, *shape)
    if dataset.kind == "sequence" and values.ndim == 3 and bool(((values >= 0) & (values <= 1)).all()):
        values = (
            1 - values.float().flip(2).transpose(1, 2)[:, None]
        )  # a piano roll: time to the right, high notes above
    if not is_images(values):
        raise UsageError(
            f"-o {path} was given; needed: images, (examples, 1 or 3, height, width); the values have shape "
            f"{list(values.shape)}; type -o FILE.csv or -o FILE.npz"
        )
    levels = float(getattr(dataset, "levels", 1.0))
    return (values.float() * (255 / levels)).round().clamp(0, 255).to(torch.uint8)


def _make_contact_sheet(images: Tensor, row_labels: Tensor | None) -> Tensor:
    """Arrange images side by side; where they have labels, in a row for each, padded to the longest."""
    if row_labels is None or len(row_labels.unique()) == 1:
        return make_grid(images)
    counts = row_labels.bincount()
    counts = counts[counts > 0]
    longest, K = int(counts.max()), len(counts)
    sheet = images.new_full((K * longest, *images.shape[1:]), 128)  # grey, as what is around them
    places = torch.cat([k * longest + torch.arange(int(count)) for k, count in enumerate(counts)])
    sheet[places] = images
    return make_grid(sheet, columns=longest)


def _save_folder(path: Path, images: Tensor, files: Sequence[str] | None) -> list[Path]:
    width = len(str(len(images) - 1))
    names = [Path(name).with_suffix(".png") for name in files] if files else None
    written = []
    for i, image in enumerate(images):
        name = names[i] if names else Path(f"{i:0{width}}.png")
        target = path / (name.name if name.is_absolute() else name)
        save_png(target, image)
        written.append(target)
    return written


def explain_impossible(n: int, total: int) -> str:
    """Return the line that says how many sequences have a probability of zero, and what helps."""
    return (
        f"{n} of {total} sequences are impossible under this model: log p is -inf, and there is no path of states; "
        "train with model.emission_prior=1.1, which leaves nothing impossible"
    )
