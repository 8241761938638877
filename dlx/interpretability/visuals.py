"""Pictures of a run's model: of a trained one, for `dlx visualize`, and of one that learns, for `trainer.visuals`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset
from dlx.errors import UsageError
from dlx.interpretability import METHODS
from dlx.interpretability.choice import Choice, check, pick
from dlx.interpretability.draw import Pictures, draw
from dlx.interpretability.preserve_state import looking
from dlx.interpretability.subject import Subject, examples, subject

EXAMPLES = 8


class Seen(NamedTuple):
    """What was drawn."""

    pictures: Pictures
    skipped: list[str]  # why methods were left out, where all were asked for


def visualize(
    model: nn.Module,
    dataset: Dataset,
    device: torch.device,
    methods: Sequence[str],
    choice: Choice,
    raw: Tensor | None = None,
    number: int = EXAMPLES,
) -> Seen:
    """See through a trained model.

    Args:
        model: trained.
        dataset: of the run.
        device: where the model is.
        methods: of `METHODS`; `all` for those that suit the model.
        choice: the layer, the class and the unit.
        raw: examples, as the dataset holds them; None takes the first ones of its test split.
        number: of examples, at most.

    Raises:
        UsageError: a method does not suit the model, or there is no such layer or unit.
    """
    y = None
    if raw is None:
        raw, y = examples(dataset, dataset.held_out, number)
    pictures: Pictures = {}
    skipped: list[str] = []
    with looking(model):
        seen = subject(model, dataset, raw[:number], y, device)
        pick(seen, choice)
        for method in METHODS if "all" in methods else methods:
            try:
                check(method, seen, choice)
            except UsageError as error:
                if "all" not in methods:
                    raise
                skipped.append(str(error))
            else:
                pictures.update(draw(method, seen, choice))
    if not pictures:
        raise UsageError(
            f"no method suits the model {type(model).__name__}; needed: a network of layers, best a classifier, "
            "such as lenet5 or mlp"
        )
    return Seen(pictures, skipped)


def watch(model: nn.Module, dataset: Dataset, split: str, methods: Sequence[str], device: torch.device) -> Pictures:
    """Pictures of a model that learns, with the first examples of a split; it goes on as if nobody had looked."""
    pictures: Pictures = {}
    with looking(model):
        seen = _few(model, dataset, split, EXAMPLES, device)
        for method in methods:
            one = method == "activations"  # a picture for each example
            pictures.update(draw(method, _few(model, dataset, split, 1, device) if one else seen))
    return pictures


def suits(model: nn.Module, dataset: Dataset, methods: Sequence[str], device: torch.device) -> None:
    """Refuse methods that do not suit a model.

    Raises:
        UsageError: says what the method needs.
    """
    with looking(model):
        seen = _few(model, dataset, "train", 1, device)
        for method in methods:
            check(method, seen, Choice())


def _few(model: nn.Module, dataset: Dataset, split: str, number: int, device: torch.device) -> Subject:
    if len(dataset.shape or ()) != 3:
        return subject(model, dataset, torch.empty(0), None, device)  # which says so
    return subject(model, dataset, *examples(dataset, split, number), device)
