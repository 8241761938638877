"""Describe the data of a command line, and what a model would receive of it; nothing is trained and no run is made."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from dlx.config.data_only import compose_data
from dlx.datasets.dataset import Dataset
from dlx.datasets.description.description import Described, load_and_describe
from dlx.datasets.images.input_range import validate_inputs
from dlx.errors import UsageError
from dlx.instantiate import build
from dlx.runs.saved import copy_config, parse_overrides
from dlx.tasks.task import Task, accepts_lengths
from dlx.trained.summary import build_and_trace, fill_in_sizes_of

# Options by which data is read that training refuses as it stands, those first that lose less.
REMEDIES = ("one_hot", "missing", "size", "corrupt", "ignore")
ADVICE = re.compile(r"'(dataset\.(\w+)=[^']+)'|\b(dataset\.(\w+)=[^\s;,'\")]+)")
MOST_TRIES = 12


class Received(NamedTuple):
    """What a model would receive, and what it would return."""

    model: str
    task: str
    input: list[int]  # of one example
    dtype: str  # of what the model sees
    min: float  # over the training examples that were looked at, scaled as the model sees them
    max: float
    mean: float
    std: float
    scale: str | None  # the option that scales; None where there is none
    lengths: bool  # whether the model takes the lengths of padded sequences
    output: list[int] | None  # of one example; None where there is no forward pass to trace
    targets: str | None


class DataDescription(NamedTuple):
    """The data of a command line."""

    name: str  # of the dataset, as it was chosen
    dataset: Dataset  # loaded
    described: Described
    received: Received | None  # where a model was asked for
    refused: list[str]  # why training would refuse the data as it was given
    options: list[str]  # with which it was read instead


def describe_data(words: Sequence[str], config: DictConfig) -> DataDescription:
    """Describe the data that a command line names; with a model or an experiment, also what its model receives.

    Data that training refuses for its gaps, its text or its sizes is read with the options that the error names.

    Args:
        words: overrides.
        config: what they compose to.

    Raises:
        UsageError: a mistake in the words, no data, or data that no option helps with.
    """
    given = {key for key, _ in parse_overrides(words)}
    has_model = any(key.split(".")[0] in ("model", "experiment") for key in given)
    refused: list[str] = []
    options: dict[str, str] = {}
    while True:
        dataset: Dataset = build(config, "dataset")
        try:
            described = load_and_describe(dataset)
            break
        except UsageError as error:
            remedy = _find_remedy(str(error), given, options)
            if remedy is None or len(refused) == MOST_TRIES:
                raise
            refused.append(str(error))
            options |= remedy
            config = compose_data([*words, *options.values()])
    received = describe_received(config, dataset, described) if has_model else None
    return DataDescription(_find_name(words, config), dataset, described, received, refused, list(options.values()))


def _find_remedy(message: str, given: set[str], options: dict[str, str]) -> dict[str, str] | None:
    """Find the option in an error's advice that loses least and was neither typed nor tried; None if there is none."""
    advice = message.partition("; type ")[2]
    found = [(m[2] or m[4], m[1] or m[3]) for m in ADVICE.finditer(advice)]
    for key in REMEDIES:
        for name, word in found:
            if name != key or f"dataset.{key}" in given or options.get(key) == word:
                continue
            return {key: _join_lists(options[key], word) if key == "ignore" and key in options else word}
    return None


def _join_lists(first: str, second: str) -> str:
    """Join `dataset.ignore=[a]` and `dataset.ignore=[b]`."""
    return f"{first.removesuffix(']')},{second.partition('[')[2]}"


def _find_name(words: Sequence[str], config: DictConfig) -> str:
    chosen = dict(parse_overrides(words)).get("dataset")
    return str(chosen) if isinstance(chosen, str) else str(config.dataset._target_).rpartition(".")[2].lower()


def describe_received(config: DictConfig, dataset: Dataset, described: Described) -> Received:
    """Describe what the model of a configuration would receive of a loaded dataset.

    Raises:
        UsageError: the model or the task does not fit the data.
    """
    config = copy_config(config)
    fill_in_sizes_of(dataset, config)
    task: Task = build(config, "task")
    task.attach(dataset)
    model, summary = build_and_trace(config, dataset.kind == "symbols")
    validate_inputs(dataset, model)
    train = described.examples["train"].split
    # Raw examples: gaps are still in those that were described, so a table's are taken from the loaded splits.
    held = getattr(dataset.splits["train"], "x", train.x)
    x = dataset.transform(held[:1000], False, None)
    numbers = x.double()
    scale = getattr(getattr(dataset, "scaler", None) or dataset, "scale", None)
    return Received(
        model=summary.model,
        task=type(task).__name__,
        input=list(x.shape[1:]),
        dtype=str(x.dtype).removeprefix("torch."),
        min=float(numbers.min()),
        max=float(numbers.max()),
        mean=float(numbers.mean()),
        std=float(numbers.std(correction=0)),
        scale=None if scale is None else str(scale),
        lengths=train.lengths is not None and accepts_lengths(model),
        output=summary.output,
        targets=_describe_targets(dataset, described),
    )


def _describe_targets(dataset: Dataset, described: Described) -> str | None:
    y: Any = described.examples["train"].split.y
    if y is None:
        return None
    shape = "×".join(map(str, y.shape[1:])) or "1"
    if not torch.is_floating_point(y):
        return f"{shape} {str(y.dtype).removeprefix('torch.')}, labels from 0 to {(dataset.classes or 1) - 1}"
    scaled = ", scaled to mean 0 and variance 1 on the training split" if dataset.target_mean is not None else ""
    return f"{shape} {str(y.dtype).removeprefix('torch.')}{scaled}"
