"""The graph to export: preprocessing, model, and the columns of `dlx predict`, for any batch and any length."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dlx.datasets.preprocessing import Field, Preprocessing
from dlx.errors import UsageError
from dlx.parts import Parts
from dlx.tasks.classification import Classification
from dlx.tasks.task import Task, accepts_lengths
from dlx.trained.trained import inverse_transform

LENGTHS = "lengths"


class Graph(nn.Module):
    """Tensors by name in, tensors by name out; a subclass has the signature, as exported files have it.

    Args:
        model: in evaluation mode.
        fields: the inputs, in order.
        preprocessing: from raw tensors to what the model sees; None where it is given that.
        task: whose predictions are the outputs; None for what the model itself returns.
        names: of what the model itself returns.
    """

    def __init__(
        self,
        model: nn.Module,
        fields: tuple[Field, ...],
        preprocessing: Preprocessing | None = None,
        task: Task | None = None,
        names: tuple[str, ...] = ("output",),
    ) -> None:
        super().__init__()
        self.model, self.preprocessing = model, preprocessing
        self.fields, self.task, self.names = fields, task, names

    def run(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name, of the inputs by name."""
        lengths = given.pop(LENGTHS, None)
        x = given["x"] if self.preprocessing is None else self.preprocessing(given)
        if self.task is None:
            values = self.model(x) if lengths is None else self.model(x, lengths)
            return dict(zip(self.names, list_tensors(values), strict=True))
        model: Any = self.model if lengths is None else WithLengths(self.model, lengths)
        columns = dict(self.task.predictions(model, x))
        if "reconstruction" in columns and self.preprocessing is not None:
            dataset: Any = self.preprocessing.dataset
            columns["reconstruction"] = inverse_transform(columns["reconstruction"], dataset)
        if isinstance(self.task, Classification):  # the scores of the classes come first
            scores = {"probability": columns["probability"]} if "probability" in columns else {"score": model(x)}
            columns = {**scores, **columns}
        return columns


class _Single(Graph):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.run({"x": x})


class _Sequences(Graph):
    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return self.run({"x": x, LENGTHS: lengths})


class _Mixed(Graph):
    def forward(self, x: Tensor, categories: Tensor) -> dict[str, Tensor]:
        return self.run({"x": x, "categories": categories})


class _Categories(Graph):
    def forward(self, categories: Tensor) -> dict[str, Tensor]:
        return self.run({"categories": categories})


SIGNATURES: dict[tuple[str, ...], type[Graph]] = {
    tuple(inspect.signature(kind.forward).parameters)[1:]: kind for kind in (_Single, _Sequences, _Mixed, _Categories)
}


class WithLengths:
    """A model of sequences whose methods know how long each of a padded batch is."""

    def __init__(self, model: nn.Module, lengths: Tensor) -> None:
        self.model, self.lengths = model, lengths

    def __call__(self, x: Tensor) -> Any:
        return self.model(x, self.lengths)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.model, name)
        takes = callable(value) and LENGTHS in inspect.signature(value).parameters
        return partial(value, lengths=self.lengths) if takes else value


class Form(NamedTuple):
    """What of a graph is left open."""

    predictions: bool = True  # the columns of `dlx predict`, or what the model itself returns
    lengths: bool = False  # whether sequences of a batch may be padded, and tell how long they are
    free_time: bool = False  # whether sequences may be of any length


@contextlib.contextmanager
def without_gradients(model: nn.Module) -> Iterator[None]:
    """Freeze a model's parameters: torch differentiates a loop that is a graph's even where nobody asks for it."""
    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in moved:
            parameter.requires_grad_(False)
        with torch.no_grad():
            yield
    finally:
        for parameter in moved:
            parameter.requires_grad_(True)


def list_tensors(values: Any) -> list[Tensor]:
    """List the tensors of what a model returns."""
    return [value for value in pytree.tree_leaves(values) if isinstance(value, Tensor)]


def list_forms(parts: Parts, bare: bool) -> list[Form]:
    """List the forms to try, the most useful first."""
    answers = (False,) if bare else (True, False)
    if parts.dataset.kind not in ("sequence", "symbols"):
        return [Form(predictions) for predictions in answers]
    varies = parts.dataset.step_layout != "fixed"
    open_forms = [(True, True), (False, True), (True, False)] if accepts_lengths(parts.model) else []
    fixed = [(False, False)]
    # Padding of one length, read as if it were data, would be a wrong answer where the model knows better.
    forms = [*open_forms, *(fixed if not open_forms or not varies else [])]
    return [Form(predictions, *form) for form in forms for predictions in answers]


def trace(graph: Graph, example: Mapping[str, Tensor], form: Form, sequence: bool) -> torch.export.ExportedProgram:
    """Trace a graph for a batch of any size, and, where the form says so, sequences of any length.

    Args:
        graph: to be exported.
        example: its inputs by name, a batch of two or more.
        form: what is left open.
        sequence: whether x's second dimension is time.

    Raises:
        UsageError: the model's course depends on the values, or on the size of the batch.
    """
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1)

    def sizes(name: str) -> dict[int, Any]:
        return {0: batch, 1: time} if form.free_time and sequence and name == "x" else {0: batch}

    names = [field.name for field in graph.fields]
    model = type(graph.model).__name__
    try:
        with torch.no_grad():
            given = tuple(example[name] for name in names)
            return torch.export.export(graph, given, dynamic_shapes=tuple(sizes(name) for name in names))
    except Exception as error:  # the tracer fails in many ways on what it cannot follow
        if "specialized" in str(error) and "(batch)" in str(error):
            raise UsageError(
                f"{model} cannot be exported: its forward pass fixes the size of the batch; needed: one for any size "
                "(len(x) makes a fixed number of it, x.shape[0] does not)"
            ) from error
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{model} cannot be exported: torch.export says {reason.strip()[:300]}; needed: a forward pass whose "
            "course does not depend on the values"
        ) from error
