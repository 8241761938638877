"""What an exported file says of itself: inputs, outputs, names, units, numbers of the scaling. All of it text."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dlx.datasets.preprocessing import describe_scaling
from dlx.parts import Parts
from dlx.tasks.classification import Classification
from dlx.tasks.regression import Regression
from dlx.trained.portable.graph import LENGTHS, Form, Graph
from dlx.version import __version__

MEANINGS = {
    "probability": "of each class, in the order of `classes`; of taggers at each step, padded beyond `lengths`",
    "score": "of each class, in the order of `classes`; the largest is the prediction",
    "label": "the place of the prediction in `classes`",
    "reconstruction": "in the units of the data",
    "log_likelihood": "nats",
    "cluster": "number of the cluster, from 0",
}


def make_metadata(
    parts: Parts,
    graph: Graph | None = None,
    outputs: Mapping[str, Tensor] | None = None,
    form: Form | None = None,
    steps: int | None = None,
) -> dict[str, str]:
    """Make the metadata of a file: JSON, or plain text, by key.

    Args:
        parts: of the run.
        graph: that is written; None for weights alone.
        outputs: an example of each.
        form: what of it is left open.
        steps: of the example, where its sequences may be of any length.
    """
    dataset = parts.dataset
    in_graph = graph is not None and graph.preprocessing is not None
    about: dict[str, Any] = {
        "dlx_version": __version__,
        "model": f"{type(parts.model).__module__}.{type(parts.model).__qualname__}",
        "task": type(parts.task).__name__.lower(),
        "dataset": type(dataset).__name__,
        "preprocessing": {"in_graph": in_graph, **describe_scaling(dataset)},
        "units": describe_units(parts, graph),
    }
    if graph is not None:
        about["inputs"] = [_describe_input(graph, field.name, form) for field in graph.fields]
        about["outputs"] = [
            {
                "name": name,
                "dtype": str(value.dtype).removeprefix("torch."),
                "shape": ["batch", *_list_sizes(value, parts, steps)],
                "meaning": _describe_output(name, parts, graph),
            }
            for name, value in (outputs or {}).items()
        ]
    names = {"classes": dataset.names, "columns": dataset.columns, "symbols": dataset.vocabulary}
    about |= {key: list(value) for key, value in names.items() if value}
    targets = list_targets(parts)
    if targets:
        about["targets"] = targets
    categories = list_categories(parts)
    if categories:
        about["categories"] = categories
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in about.items()
    }


def list_targets(parts: Parts) -> list[str]:
    """Return the names of the columns that a regression predicts; none where nobody gave them names."""
    header, places = getattr(parts.dataset, "header_names", []), getattr(parts.dataset, "target_indices", [])
    return [header[place] for place in places] if isinstance(parts.task, Regression) else []


def list_categories(parts: Parts) -> dict[str, list[str]]:
    """Return the texts of each column of categories, in the order of their codes."""
    features = getattr(parts.dataset, "features", [])
    if not isinstance(features, list):  # of other datasets it is a number
        return {}
    return {feature.name: list(feature.values) for feature in features if feature.values is not None}


def describe_units(parts: Parts, graph: Graph | None) -> str:
    """Say what units inputs and outputs are in."""
    if graph is None:
        return "weights alone; `preprocessing` holds the numbers by which inputs are scaled and targets were"
    if graph.preprocessing is None:
        scaled = "; outputs are the model's own, of scaled targets" if parts.dataset.target_mean is not None else ""
        return f"inputs as the model sees them, scaled by the numbers in `preprocessing`{scaled}"
    own = "; outputs are the model's own" if graph.task is None else "; outputs as `dlx predict` gives them"
    return f"inputs raw, in the units of the data{own}"


def _describe_input(graph: Graph, name: str, form: Form | None) -> dict[str, Any]:
    field = next(field for field in graph.fields if field.name == name)
    shape = list(field.describe()["shape"])
    if form is not None and form.free_time and name != LENGTHS:
        shape[0] = "time"
    return {**field.describe(), "shape": ["batch", *shape]}


def _list_sizes(value: Tensor, parts: Parts, steps: int | None) -> list[int | str]:
    """List the sizes of an output but for the batch; the first may be time."""
    sizes: list[int | str] = list(value.shape[1:])
    if steps is not None and sizes[:1] == [steps] and not isinstance(parts.task, Classification | Regression):
        sizes[0] = "time"
    return sizes


def _describe_output(name: str, parts: Parts, graph: Graph) -> str:
    if graph.task is None:
        return MEANINGS.get(name, "what the model returns") if graph.preprocessing else "what the model returns"
    if name == "prediction" and isinstance(parts.task, Regression):
        return "of each target, in the units of the data"
    return MEANINGS.get(name, f"the column {name} of dlx predict")
