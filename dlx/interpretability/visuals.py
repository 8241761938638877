"""Draw pictures of a trained model, for `dlx visualize`, and of a model in training, for `trainer.visuals`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset
from dlx.errors import UsageError
from dlx.interpretability import METHODS
from dlx.interpretability.choice import Choice, check_method, select_layer
from dlx.interpretability.draw import Pictures, draw
from dlx.interpretability.preserve_state import preserve_state
from dlx.interpretability.subject import Subject, make_subject, select_examples

DEFAULT_EXAMPLES = 8


class Visualization(NamedTuple):
    """The pictures drawn, and the methods skipped."""

    pictures: Pictures
    skipped: list[str]  # why methods were left out, if `all` were asked for


def visualize(
    model: nn.Module,
    dataset: Dataset,
    device: torch.device,
    methods: Sequence[str],
    choice: Choice,
    raw: Tensor | None = None,
    number: int = DEFAULT_EXAMPLES,
) -> Visualization:
    """Draw pictures of a trained model by some methods.

    Args:
        model: trained.
        dataset: of the run.
        device: of the model.
        methods: of `METHODS`; `all` for those that fit the model.
        choice: the layer, the class and the unit.
        raw: examples, as the dataset holds them; None takes the first ones of its test split.
        number: of examples, at most.

    Raises:
        UsageError: a method does not fit the model, or there is no such layer or unit.
    """
    y = None
    if raw is None:
        raw, y = select_examples(dataset, dataset.held_out, number)
    pictures: Pictures = {}
    skipped: list[str] = []
    with preserve_state(model):
        subject = make_subject(model, dataset, raw[:number], y, device)
        select_layer(subject, choice)
        for method in METHODS if "all" in methods else methods:
            try:
                check_method(method, subject, choice)
            except UsageError as error:
                if "all" not in methods:
                    raise
                skipped.append(str(error))
            else:
                pictures.update(draw(method, subject, choice))
    if not pictures:
        raise UsageError(
            f"no method suits the model {type(model).__name__}; needed: a network of layers, best a classifier, "
            "such as lenet5 or mlp"
        )
    return Visualization(pictures, skipped)


def draw_during_training(
    model: nn.Module, dataset: Dataset, split: str, methods: Sequence[str], device: torch.device
) -> Pictures:
    """Draw pictures of a model in training, with the first examples of a split, without affecting the training."""
    pictures: Pictures = {}
    with preserve_state(model):
        subject = _make_subject(model, dataset, split, DEFAULT_EXAMPLES, device)
        for method in methods:
            one = method == "activations"  # a picture for each example
            pictures.update(draw(method, _make_subject(model, dataset, split, 1, device) if one else subject))
    return pictures


def check_methods(model: nn.Module, dataset: Dataset, methods: Sequence[str], device: torch.device) -> None:
    """Refuse methods that do not fit a model.

    Raises:
        UsageError: the message says what the method needs.
    """
    with preserve_state(model):
        subject = _make_subject(model, dataset, "train", 1, device)
        for method in methods:
            check_method(method, subject, Choice())


def _make_subject(model: nn.Module, dataset: Dataset, split: str, number: int, device: torch.device) -> Subject:
    if len(dataset.shape or ()) != 3:
        return make_subject(model, dataset, torch.empty(0), None, device)  # which raises the error
    return make_subject(model, dataset, *select_examples(dataset, split, number), device)
