"""What is looked at: a model, and examples as the model sees them and as people do."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset, Generated, Split
from dlx.errors import UsageError
from dlx.interpretability.layers import Layer, forward, layers


class Subject(NamedTuple):
    """A model with a few examples, all on its device."""

    model: nn.Module
    x: Tensor  # (n, C, H, W), as the model sees them
    shown: Tensor  # (n, 1 or 3, H, W) in [0, 1] on the processor
    scores: Tensor | None  # (n, classes); None of what is no classifier
    y: Tensor | None  # (n,) labels, where they are known
    names: list[str] | None  # of the classes
    low: Tensor  # (C, H, W): a black image, as the model sees it
    high: Tensor  # (C, H, W): a white one
    layers: list[Layer]  # in the order in which they are called

    def name(self, label: int) -> str:
        """Of a class."""
        return self.names[label] if self.names and label < len(self.names) else str(label)


def subject(model: nn.Module, dataset: Dataset, raw: Tensor, y: Tensor | None, device: torch.device) -> Subject:
    """Look at a model, in evaluation mode, with examples of its dataset.

    Args:
        model: takes images.
        dataset: loaded.
        raw: (n, C, H, W) as the dataset holds them, before scaling.
        y: (n,) labels, or None.
        device: of the model.

    Raises:
        UsageError: the data are no images, or the model is none that a gradient flows through.
    """
    shape = tuple(dataset.shape or ())
    if len(shape) != 3:
        raise UsageError(
            f"the data of {dataset.source} have shape {list(shape)}; needed: images, [channels, height, width]; "
            "name a run on images"
        )
    if next(model.parameters(), None) is None:
        raise UsageError(
            f"the model {type(model).__name__} was given, through which no gradient flows; needed: a network, such as "
            "lenet5 or mlp; type dlx list models to see them"
        )
    levels = float(getattr(dataset, "levels", 1.0))
    dark, bright = torch.zeros(1, *shape, device=device), torch.full((1, *shape), levels, device=device)
    x = dataset.transform_on(raw, device)
    with torch.no_grad():
        given = forward(model, x).scores
    classifies = isinstance(given, Tensor) and given.ndim == 2 and given.shape[1] == dataset.classes
    return Subject(
        model,
        x,
        visible(raw.float().cpu() / levels),
        given if classifies else None,
        None if y is None else y.to(device),
        dataset.names,
        dataset.transform(dark, False, None)[0],
        dataset.transform(bright, False, None)[0],
        layers(model, x[:1]),
    )


def visible(images: Tensor) -> Tensor:
    """Images that can be shown: of other than 1 or 3 channels the mean over them, brought into [0, 1]."""
    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)
    return images.clamp(0, 1)


def examples(dataset: Dataset, split: str, number: int) -> tuple[Tensor, Tensor | None]:
    """The first examples of a split, raw, with their labels; of a split sorted by class the first of each in turn.

    Args:
        dataset: loaded.
        split: train, val or test.
        number: fewer if the split is smaller.
    """
    source = dataset.splits[split]
    if isinstance(source, Generated):
        source = source.make(number, torch.Generator().manual_seed(dataset.seed))
    if source.y is None or dataset.classes is None or source.y.ndim != 1:
        labels, rows = None, torch.arange(min(number, len(source)))
    else:
        labels, rows = source.y, torch.arange(min(number, len(source)))
        if bool((labels.diff() >= 0).all()):  # the first ones would all be of the first class
            counts = labels.bincount()
            rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels]  # of each within its class
            rows = (rank * len(counts) + labels).argsort()[:number]
    x = source.x[rows] if isinstance(source, Split) else torch.stack([source.data[int(row)][0] for row in rows])
    return x, None if labels is None else labels[rows]
