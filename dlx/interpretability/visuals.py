"""Draw pictures of a trained model, for `dlx visualize`, and of a model in training, for `trainer.visuals`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlx.charts import CHARTS
from dlx.charts.chart import Drawing, load_chart
from dlx.charts.study import Examples, Study
from dlx.datasets.dataset import Dataset
from dlx.errors import UsageError
from dlx.interpretability import METHODS
from dlx.interpretability.choice import Choice, check_method, select_layer
from dlx.interpretability.draw import Pictures, draw
from dlx.interpretability.preserve_state import preserve_state
from dlx.interpretability.subject import Subject, make_subject, select_examples

DEFAULT_EXAMPLES = 8


class Visualization(NamedTuple):
    """The pictures drawn, what was written beside them, and the methods skipped."""

    pictures: Pictures
    skipped: list[str]  # methods that do not suit, if `all` were asked for
    tables: dict[str, list[dict[str, Any]]]  # rows by name
    texts: dict[str, str]  # by name


def visualize(
    model: nn.Module,
    dataset: Dataset,
    device: torch.device,
    methods: Sequence[str],
    choice: Choice,
    raw: Tensor | None = None,
    number: int = DEFAULT_EXAMPLES,
    name: str = "",
) -> Visualization:
    """Draw pictures of a trained model by some methods.

    Args:
        model: trained.
        dataset: of the run.
        device: of the model.
        methods: of `METHODS` and `CHARTS`, or classes of charts; `all` for those that fit the model.
        choice: the layer, the class and the unit.
        raw: examples, as the dataset holds them; None takes the test split, ways of seeing its first ones.
        number: of examples that ways of seeing show, at most; charts show the whole split.
        name: what charts call the model.

    Raises:
        UsageError: a method does not fit the model, or there is no such layer or unit.
    """
    wanted = (*METHODS, *CHARTS) if "all" in methods else methods
    found = Visualization({}, [], {}, {})
    with preserve_state(model):
        subject, reason = None, None
        if any(method in METHODS for method in wanted):
            try:
                subject = _make_subject(model, dataset, dataset.held_out, number, device, raw)
            except UsageError as error:
                reason = error
            if subject is not None:
                select_layer(subject, choice)
        for method in wanted:
            try:
                if method in METHODS:
                    if subject is None:
                        raise reason or AssertionError
                    check_method(method, subject, choice)
                    drawing = Drawing(draw(method, subject, choice))
                else:
                    study = Study(model, dataset, dataset.held_out, device, name)
                    if raw is not None:
                        study = study._replace(chosen=Examples(raw, study.see(raw), None))
                    drawing = draw_chart(method, study)
            except UsageError:
                if "all" not in methods:
                    raise
                found.skipped.append(method)
            else:
                found.pictures.update(drawing.pictures)
                found.tables.update(drawing.tables)
                found.texts.update(drawing.texts)
    if not found.pictures:
        raise UsageError(
            f"no method suits the model {type(model).__name__} on {dataset.source}; needed: a network of layers, best "
            "a classifier, such as lenet5 or mlp, or a learner of labels, numbers or clusters"
        )
    return found


def draw_chart(method: str, study: Study) -> Drawing:
    """Draw a chart of `CHARTS`, or one of the user's own.

    Raises:
        UsageError: there is no such chart, or it does not fit the model.
    """
    chart = load_chart(method)
    chart.check(study)
    return chart.draw(study, method.rpartition(".")[2].lower() if "." in method else method)


def draw_during_training(
    model: nn.Module, dataset: Dataset, split: str, methods: Sequence[str], device: torch.device
) -> Pictures:
    """Draw pictures of a model in training, with the first examples of a split, without affecting the training."""
    pictures: Pictures = {}
    with preserve_state(model):
        for method in methods:
            if method not in METHODS:
                pictures.update(draw_chart(method, Study(model, dataset, split, device)).pictures)
                continue
            number = 1 if method == "activations" else DEFAULT_EXAMPLES  # there a picture for each example
            pictures.update(draw(method, _make_subject(model, dataset, split, number, device)))
    return pictures


def check_methods(model: nn.Module, dataset: Dataset, methods: Sequence[str], device: torch.device) -> None:
    """Refuse methods that do not fit a model.

    Raises:
        UsageError: the message says what the method needs.
    """
    with preserve_state(model):
        for method in methods:
            if method in METHODS:
                check_method(method, _make_subject(model, dataset, "train", 1, device), Choice())
            else:
                load_chart(method).check(Study(model, dataset, "train", device))


def _make_subject(
    model: nn.Module, dataset: Dataset, split: str, number: int, device: torch.device, raw: Tensor | None = None
) -> Subject:
    if len(dataset.shape or ()) != 3:
        return make_subject(model, dataset, torch.empty(0), None, device)  # which raises the error
    given, y = select_examples(dataset, split, number) if raw is None else (raw[:number], None)
    return make_subject(model, dataset, given, y, device)
