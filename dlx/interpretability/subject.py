"""The subject of interpretation: a model, and examples as the model's input and as pictures."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Generated, Split
from dlx.errors import UsageError
from dlx.interpretability.layers import Layer, forward, list_layers


class Subject(NamedTuple):
    """A model with a few examples, all on its device."""

    model: nn.Module
    x: Tensor  # (n, C, H, W), scaled as the model's input
    shown: Tensor  # (n, 1 or 3, H, W) in [0, 1] on the processor
    scores: Tensor | None  # (n, classes); None if the model is no classifier
    y: Tensor | None  # (n,) labels, if they are known
    names: list[str] | None  # of the classes
    low: Tensor  # (C, H, W): a black image, scaled as the model's input
    high: Tensor  # (C, H, W): a white one
    layers: list[Layer]  # in the order in which they are called

    def name(self, label: int) -> str:
        """Return the name of a class."""
        return self.names[label] if self.names and label < len(self.names) else str(label)


def make_subject(model: nn.Module, dataset: Dataset, raw: Tensor, y: Tensor | None, device: torch.device) -> Subject:
    """Make the subject of a model, in evaluation mode, and examples of its dataset.

    Args:
        model: takes images.
        dataset: loaded.
        raw: (n, C, H, W) as the dataset holds them, before scaling.
        y: (n,) labels, or None.
        device: of the model.

    Raises:
        UsageError: the data are not images, or no gradient flows through the model.
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
        scores = forward(model, x).scores
    is_classifier = isinstance(scores, Tensor) and scores.ndim == 2 and scores.shape[1] == dataset.classes
    return Subject(
        model,
        x,
        to_displayable(raw.float().cpu() / levels),
        scores if is_classifier else None,
        None if y is None else y.to(device),
        dataset.names,
        dataset.transform(dark, False, None)[0],
        dataset.transform(bright, False, None)[0],
        list_layers(model, x[:1]),
    )


def to_displayable(images: Tensor) -> Tensor:
    """Clamp images to [0, 1], and average channels unless there are 1 or 3 of them."""
    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)
    return images.clamp(0, 1)


def select_examples(dataset: Dataset, split: str, number: int) -> tuple[Tensor, Tensor | None]:
    """Return the first raw examples of a split and their labels; of a split sorted by class, of each class in turn.

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
        if bool((labels.diff() >= 0).all()):  # the first examples would all be of the first class
            counts = labels.bincount()
            rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels]  # of each example within its class
            rows = (rank * len(counts) + labels).argsort()[:number]
    x = source.x[rows] if isinstance(source, Split) else torch.stack([source.data[int(row)][0] for row in rows])
    return x, None if labels is None else labels[rows]
