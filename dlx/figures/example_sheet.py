"""Draw a sheet of examples of a dataset: pictures with their classes, series as lines, rolls, text, distributions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.description.columns import group_features
from dlx.datasets.description.description import Described
from dlx.datasets.description.parts import Seen
from dlx.datasets.splits import Split
from dlx.figures.axes import make_axes
from dlx.figures.contact_sheet import Text, draw_columns
from dlx.figures.figures import FAINT, INK, pil_to_tensor, plot_scatter, render_figure
from dlx.figures.panels import mask_negative, plot_panels

PICTURES, SERIES, ROLLS, LINES, ROWS = 32, 8, 3, 24, 64  # examples on a sheet
BINS = 24  # of a histogram
MOST_COLUMNS = 24  # whose distributions are drawn
MOST_CHANNELS = 8  # of series that are drawn as lines
MOST_CLASSES = 10  # that have a colour each
MOST_POINTS = 5000  # examples of a scatter plot, or of a distribution
LINE_WIDTH = 96  # characters
MOST_STEPS = 400  # of a roll


def draw_sheet(dataset: Dataset, described: Described) -> Tensor:
    """Draw examples of the training split, (3, H, W).

    Args:
        dataset: loaded.
        described: what was seen of it.
    """
    seen = described.examples["train"]
    if dataset.kind == "image":
        return _draw_pictures(dataset, seen)
    if dataset.kind == "symbols":
        return _draw_text(dataset, seen.split)
    if dataset.kind == "sequence":
        return _draw_series(dataset, seen.split)
    return _draw_vectors(dataset, seen.split)


def choose_examples(seen: Seen, number: int) -> list[int]:
    """Choose examples for a sheet: of each class in turn where there are classes, else the first."""
    y = seen.split.y
    rows = range(len(seen.split.x))
    if y is None or y.is_floating_point() or y.ndim != 1:
        return list(rows[:number])
    by_class: dict[int, list[int]] = {}
    for row, label in enumerate(y.tolist()):
        by_class.setdefault(label, []).append(row)
    labels = sorted(by_class)
    each = -(-number // len(labels))
    if each == 1:  # more classes than places
        return [by_class[label][0] for label in labels[:number]]
    return [by_class[label][i] for i in range(each) for label in labels if i < len(by_class[label])][:number]


def name_of(dataset: Dataset, y: Tensor | None, row: int) -> str:
    """Return the class, or the target, of an example."""
    if y is None or (y.ndim > 1 and y.shape[1:].numel() > 3):
        return ""
    if y.is_floating_point():
        return ", ".join(f"{value:.5g}" for value in y[row].flatten().tolist())
    if y.ndim > 1:
        return ""
    label = int(y[row])
    return dataset.names[label] if dataset.names and label < len(dataset.names) else str(label)


def _draw_pictures(dataset: Dataset, seen: Seen) -> Tensor:
    split, rows = seen.split, choose_examples(seen, PICTURES)
    white = float(getattr(dataset, "levels", 1.0))
    pictures = (split.x[rows].double() / white).float()
    if pictures.shape[1] not in (1, 3):
        pictures = pictures[:, :1]
    low, high = float(pictures.min()), float(pictures.max())
    if low < 0 or high > 1:  # no intensities: from the least to the greatest
        pictures = (pictures - low) / max(high - low, 1e-12)
    below = [[Text(name_of(dataset, split.y, row))] for row in rows]
    return draw_columns([pictures], below=below, between=0.8)


def _draw_text(dataset: Dataset, split: Split) -> Tensor:
    """Write sequences of symbols: characters side by side, words with spaces, with the labels of steps below."""
    names = dataset.vocabulary or dataset.names or list(map(str, range(dataset.symbols or 0)))
    tags = dataset.names if split.y is not None and not split.y.is_floating_point() and split.y.ndim == 2 else None
    single = all(len(name) == 1 for name in names) and tags is None
    lines: list[tuple[str, Any]] = []
    for row in range(min(len(split.x), LINES)):
        length = len(split.x[row]) if split.lengths is None else int(split.lengths[row])
        words = [names[symbol] for symbol in split.x[row, :length].tolist()]
        name = name_of(dataset, split.y, row)
        if single:
            text = "".join(c if c.isprintable() else {"\n": "⏎", "\t": "⇥"}.get(c, "·") for c in words)
            lines.append((text + f"   {name}" * bool(name), INK))
        elif tags is None:
            lines.append((" ".join(words) + f"   {name}" * bool(name), INK))
        else:
            assert split.y is not None
            given = [tags[label] if label >= 0 else "-" for label in split.y[row, :length].tolist()]
            widths = [max(len(a), len(b)) for a, b in zip(words, given, strict=True)]
            lines.append((" ".join(a.ljust(n) for a, n in zip(words, widths, strict=True)), INK))
            lines.append((" ".join(b.ljust(n) for b, n in zip(given, widths, strict=True)), FAINT))
        if len(lines) >= LINES:
            break
    return _write_lines(lines)


def _write_lines(lines: Sequence[tuple[str, Any]]) -> Tensor:
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf", 13)
    cut = [(text if len(text) <= LINE_WIDTH else text[: LINE_WIDTH - 1] + "…", colour) for text, colour in lines]
    width = 24 + math.ceil(max((font.getlength(text) for text, _ in cut), default=0))
    canvas = Image.new("RGB", (max(width, 120), 24 + 19 * len(cut)), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (text, colour) in enumerate(cut):
        draw.text((12, 12 + 19 * i), text, fill=colour, font=font)
    return pil_to_tensor(canvas)


def _draw_series(dataset: Dataset, split: Split) -> Tensor:
    """Draw series as lines, a panel each; those of bits or of many channels as rolls, time from left to right."""
    channels = split.x.shape[2:].numel()
    bits = bool(((split.x == 0) | (split.x == 1)).all()) and channels > 1
    if bits or channels > MOST_CHANNELS:
        return _draw_rolls(dataset, split)
    from matplotlib.figure import Figure

    rows = choose_examples(Seen(split, len(split.x), split.y), SERIES)
    across = 2 if len(rows) > 1 else 1
    down = -(-len(rows) // across)
    figure = Figure(figsize=(5.2 * across, 1.7 * down + 0.3), dpi=110, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    names = dataset.columns if dataset.columns and len(dataset.columns) == channels else None
    for place, row in zip(axes, rows, strict=False):
        length = split.x.shape[1] if split.lengths is None else int(split.lengths[row])
        values = split.x[row, :length].double().flatten(1)
        for k in range(channels):
            label = names[k] if names else f"channel {k}"
            place.plot(
                values[:, k].numpy(), color=f"C{k}", linewidth=1.1, label=label, marker="." if length < 20 else ""
            )
        place.set_title(_title(dataset, split, row), fontsize=9)
        place.tick_params(labelsize=7)
        place.spines[["top", "right"]].set_visible(False)
    for place in axes[len(rows) :]:
        place.set_axis_off()
    if channels > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=channels, frameon=False, fontsize=8)
    return render_figure(figure)


def _title(dataset: Dataset, split: Split, row: int) -> str:
    return _plain(name_of(dataset, split.y, row)) or f"training example {row}"


def _draw_rolls(dataset: Dataset, split: Split) -> Tensor:
    tables: dict[str, Tensor] = {}
    with_steps = split.y is not None and split.y.ndim > 1 and split.y.shape[1] == split.x.shape[1]
    for row in range(min(len(split.x), ROLLS - with_steps)):
        length = split.x.shape[1] if split.lengths is None else int(split.lengths[row])
        length = min(length, MOST_STEPS)
        name = name_of(dataset, split.y, row)
        tables[f"example {row}" + f": {name}" * bool(name)] = split.x[row, :length].float().flatten(1).T.flip(0)
        if with_steps and split.y is not None:
            steps = split.y[row, :length].float()
            of_row = f"target {row}" if split.y.ndim == 3 else f"label {row}"
            tables[of_row] = mask_negative(steps.flatten(1) if steps.ndim > 1 else steps[:, None])
    longest = max(table.shape[1] for table in tables.values())
    # One scale of time for all; what is beyond an example's end is grey.
    return plot_panels(
        {name: F.pad(table, (0, longest - table.shape[1]), value=math.nan) for name, table in tables.items()}
    )


def _draw_vectors(dataset: Dataset, split: Split) -> Tensor:
    """Draw a scatter plot of two columns, the distribution of each of several, or many as a table of values."""
    x = split.x.flatten(1)[:MOST_POINTS]
    y = None if split.y is None else split.y[: len(x)]
    labels = y if y is not None and y.ndim == 1 and not y.is_floating_point() else None
    features = x.shape[1]
    names = dataset.columns if dataset.columns and len(dataset.columns) == features else list(map(str, range(features)))
    groups = list(group_features(names, dataset.categories))
    if features == 2 and dataset.columns is None and not x.isnan().any():
        return plot_scatter(x, labels, dataset.names)
    if len(groups) > 4 * MOST_COLUMNS:
        return _draw_rows(x[:ROWS])
    shown = [
        *([f"{MOST_COLUMNS} of {len(groups)} columns"] if len(groups) > MOST_COLUMNS else []),
        *([f"{len(x):,} of {len(split.x):,} training examples"] if len(x) < len(split.x) else []),
    ]
    return _draw_distributions(dataset, x, y, groups[:MOST_COLUMNS], "; ".join(shown))


def _draw_rows(x: Tensor) -> Tensor:
    """Draw examples (n, features) as rows of a picture, by colours from their least to their greatest value."""
    low, high = x.min(), x.max()
    figure, axes = make_axes((8.6, 3.4), f"{len(x)} training examples, from {float(low):.4g} to {float(high):.4g}")
    axes.imshow(x.double().numpy(), aspect="auto", interpolation="nearest", cmap="viridis")
    axes.grid(False)
    axes.set_xlabel("feature")
    axes.set_ylabel("example")
    return render_figure(figure)


def _draw_distributions(
    dataset: Dataset, x: Tensor, y: Tensor | None, groups: Sequence[tuple[str, list[int]]], below: str
) -> Tensor:
    """Draw a histogram of each column, stacked by class, and bars of categories; the last panel is the target.

    Args:
        dataset: loaded.
        x: (n, features).
        y: labels or targets.
        groups: columns, each with the indices of its features.
        below: which part is shown; empty for all.
    """
    from matplotlib.figure import Figure

    labels = y if y is not None and y.ndim == 1 and not y.is_floating_point() else None
    classes = [] if labels is None else sorted(set(labels.tolist()))
    if not 1 < len(classes) <= MOST_CLASSES:
        labels, classes = (labels, []) if labels is None else (None, [])
    number = len(groups) + (y is not None)
    across = min(4, number)
    figure = Figure(figsize=(2.9 * across, 2.1 * -(-number // across) + 0.6), dpi=110, layout="constrained")
    axes = figure.subplots(-(-number // across), across, squeeze=False).flatten()
    masks = [torch.ones(len(x), dtype=torch.bool)] if labels is None else [labels == k for k in classes]
    for place, (name, indices) in zip(axes, groups, strict=False):
        place.set_title(_plain(name), fontsize=9)
        if name in dataset.categories:
            _draw_bars(place, x[:, indices], dataset.categories[name], masks)
        else:
            _draw_histogram(place, [x[mask, indices[0]] for mask in masks])
    if y is not None:
        _draw_target(axes[len(groups)], dataset, y)
    for place in axes[number:]:
        place.set_axis_off()
    for place in axes[:number]:
        place.tick_params(labelsize=7)
        place.spines[["top", "right"]].set_visible(False)
    if labels is not None:
        from matplotlib.patches import Patch

        handles = [Patch(color=f"C{i}", label=_plain(_class_name(dataset, k))) for i, k in enumerate(classes)]
        figure.legend(
            handles=handles, loc="outside upper center", ncols=min(len(handles), 5), frameon=False, fontsize=8
        )
    if below:
        figure.supxlabel(below, fontsize=8)
    return render_figure(figure)


def _draw_histogram(place: Any, values: Sequence[Tensor], colours: Sequence[str] | None = None) -> None:
    """Draw the histogram of several parts, stacked; gaps are left out."""
    known = [part[part.isfinite()].double() for part in values]
    every = torch.cat(known)
    if not len(every):
        return
    low, high = float(every.min()), float(every.max())
    edges = torch.linspace(low - 0.5, high + 0.5, 2) if low == high else torch.linspace(low, high, BINS + 1)
    base = torch.zeros(len(edges) - 1)
    for i, part in enumerate(known):
        top = base + torch.histogram(part, edges.double()).hist.float()
        colour = colours[i] if colours else f"C{i}"
        place.stairs(top.numpy(), edges.numpy(), baseline=base.numpy(), fill=True, color=colour)
        base = top
    place.set_ylim(0, None)
    place.locator_params(axis="x", nbins=5)


def _draw_bars(place: Any, x: Tensor, categories: Sequence[str], masks: Sequence[Tensor]) -> None:
    """Draw how often each category occurs, the first ten, stacked by class."""
    shown = categories[:10]
    codes = x.shape[1] == 1 and len(categories) > 1
    base = [0] * len(shown)
    for i, mask in enumerate(masks):
        counts = [int((x[mask, 0] == k).sum() if codes else (x[mask, k] == 1).sum()) for k in range(len(shown))]
        place.barh(range(len(shown)), counts, left=base, color=f"C{i}")
        base = [a + b for a, b in zip(base, counts, strict=True)]
    place.set_yticks(range(len(shown)), [_plain(name) for name in shown])
    place.invert_yaxis()


def _draw_target(place: Any, dataset: Dataset, y: Tensor) -> None:
    if y.is_floating_point():
        place.set_title(_plain(dataset.target_names[0] if len(dataset.target_names) == 1 else "target"), fontsize=9)
        _draw_histogram(place, [y.flatten(1)[:, 0] if y.ndim > 1 else y], ["0.4"])
        return
    place.set_title("class", fontsize=9)
    counts = y.bincount(minlength=dataset.classes or 0).tolist()
    shown = range(min(len(counts), 20))
    coloured = len(counts) <= MOST_CLASSES
    place.barh(list(shown), counts[:20], color=[f"C{k}" if coloured else "0.4" for k in shown])
    place.set_yticks(list(shown), [_plain(_class_name(dataset, k)) for k in shown])
    place.invert_yaxis()


def _class_name(dataset: Dataset, k: int) -> str:
    return dataset.names[k] if dataset.names and k < len(dataset.names) else str(k)


def _plain(name: str, most: int = 28) -> str:
    r"""Shorten a name, and keep matplotlib from reading $…$ in it as mathematics."""
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")
