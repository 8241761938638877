"""A trained model, back from its run directory, which stays as it is."""

import inspect
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.sequences import padding
from dlx.errors import UsageError
from dlx.hardware.device import autocast
from dlx.hardware.out_of_memory import fitting
from dlx.hardware.random_state import seed_everything
from dlx.parts import Parts
from dlx.tasks.density import Density
from dlx.tasks.prediction import Prediction
from dlx.tasks.steps import StepModel
from dlx.tasks.task import reads_lengths
from dlx.trained import stepwise
from dlx.training.evaluate import evaluate


def annealed(parts: Parts, temperatures: int = 14500) -> Parts:
    """The same, with the task of estimating a density; a run that was for something else may have one too.

    Raises:
        UsageError: the model has no partition function.
    """
    if not callable(getattr(parts.model, "log_partition", None)):
        raise UsageError(
            f"--ais was given; {type(parts.model).__name__} has no partition function to be estimated; needed: a "
            "Boltzmann machine, rbm, dbn or dbm; leave it out"
        )
    task = parts.task if isinstance(parts.task, Density) else Density()
    task.ais = task.ais or temperatures
    return parts._replace(task=task)


def measure(parts: Parts, split: str) -> dict[str, float]:
    """The task's metrics on a split, `split/metric` each; the same at every call.

    Raises:
        UsageError: the dataset has no such split.
    """
    if not parts.data.has_split(split):
        raise UsageError(
            f"split {split} was given; {parts.dataset.source} has {', '.join(parts.dataset.splits)}; "
            "type --split with one of them"
        )
    seed_everything(parts.config.seed)
    with _precision(parts):
        metrics = fitting(parts.data, lambda: evaluate(parts.model, parts.task, parts.data.split(split)))
    return {f"{split}/{name}": value for name, value in metrics.items()}


@torch.no_grad()
def predict(parts: Parts, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """What the model says of raw examples, in the units of the data.

    Args:
        parts: a trained run's.
        x: (examples, *shape) as the dataset holds them, before scaling.
        lengths: (examples,) of sequences that are padded; none of them sees its padding.

    Returns:
        Columns (examples, ...) on the CPU; the first is the prediction itself. Where there is one at each step of a
        sequence, -1 or NaN stand after a shorter one's.
    """
    dataset, device = parts.dataset, parts.trainer.device
    if dataset.kind in ("sequence", "symbols") and not reads_lengths(parts.model):
        x, lengths = _padded(x, parts), None
    seed_everything(parts.config.seed)

    def columns() -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        places: list[Tensor] = []
        for rows, chunk in stepwise.chunks(x, lengths, parts.data.eval_batch):
            given = dataset.transform_on(chunk, device)
            places.append(rows)
            for name, value in parts.task.predictions(parts.model, given).items():
                found.setdefault(name, []).append(_plain(value))
        return {name: stepwise.together(places, values) for name, values in found.items()}

    with _precision(parts):
        whole = fitting(parts.data, columns)
    if "reconstruction" in whole:
        whole["reconstruction"] = raw(whole["reconstruction"], dataset)
    return whole


@torch.no_grad()
def sample(parts: Parts, n: int, seed: int | None = None, **how: Any) -> Tensor:
    """`n` examples that the model generates, (n, *shape) on the CPU, in the units of the data.

    Args:
        parts: a trained run's.
        n: how many.
        seed: of the draws; None takes the run's own.
        how: what some models also take: `length` in steps, `prompt` (a text where the dataset is one, else a tensor),
            `temperature`; `labels` (n,) of a conditional model; None counts as not given.

    Raises:
        UsageError: the model does not generate, or takes no such thing.
    """
    generate = getattr(parts.model, "sample", None)
    if not callable(generate) or not _tells_what_follows(parts):
        raise UsageError(
            f"the model {type(parts.model).__name__} was given; needed: one that generates (has sample(n)), such as "
            "gan or rbm, or a recurrent network trained with task=prediction on symbols or bits; type dlx list models"
        )
    asked = {name: value for name, value in how.items() if value is not None}
    for name in asked.keys() - inspect.signature(generate).parameters.keys():
        raise UsageError(
            f"--{name} was given; {type(parts.model).__name__} draws whole examples; needed: a model that goes on step "
            "by step, such as lstm on a text; leave it out"
        )
    if isinstance(asked.get("prompt"), str):
        asked["prompt"] = _encoded(asked["prompt"], parts.dataset)
    seed_everything(parts.config.seed if seed is None else seed)
    with _precision(parts):
        made: Tensor = generate(n, **asked)
    return raw(_plain(made), parts.dataset)


def _tells_what_follows(parts: Parts) -> bool:
    """Whether a model that answers at every step was asked for the next one's distribution; true for other models."""
    task = parts.task
    return not isinstance(parts.model, StepModel) or (isinstance(task, Prediction) and task.cost != "mse")


def _encoded(text: str, dataset: Dataset) -> Tensor:
    encode = getattr(dataset, "encode", None)
    if not callable(encode):
        raise UsageError(
            f"--prompt {text!r} was given; {dataset.source} is no text; needed: a run on a text; leave it out"
        )
    encoded: Tensor = encode(text)
    return encoded


def _padded(x: Tensor, parts: Parts) -> Tensor:
    """Sequences (n, T, …) as long as a model needs them that reads only one length."""
    shape = tuple(parts.dataset.shape or ())
    if x.shape[1] > shape[0]:
        raise UsageError(
            f"sequences of {x.shape[1]} steps were given; needed: at most {shape[0]}, which is what the model "
            f"{type(parts.model).__name__} was trained on; dlx list models shows those that read any number"
        )
    return x if x.shape[1] == shape[0] else padding.pad_to(x, shape[0])


def _plain(values: Tensor) -> Tensor:
    """On the processor, in a type that numpy has."""
    return values.cpu().float() if values.dtype in (torch.bfloat16, torch.float16) else values.cpu()


def raw(x: Tensor, dataset: Dataset) -> Tensor:
    """What a model generates, in the units of the data: the dataset's scaling undone.

    Scaling moves each element by itself along a line, so two probes show it, whatever the dataset calls it.

    Args:
        x: (n, *shape), as `dataset.transform` would give it.
        dataset: loaded.
    """
    shape = tuple(dataset.shape or ())
    if not x.is_floating_point() or tuple(x.shape[1:]) != shape:
        return x
    top = float(getattr(dataset, "levels", 1.0))
    low = dataset.transform(torch.zeros(1, *shape), False, None)
    high = dataset.transform(torch.full((1, *shape), top), False, None)
    span = high - low
    return torch.where(span == 0, x, (x - low) / torch.where(span == 0, 1, span) * top)


def _precision(parts: Parts) -> Any:
    return autocast(parts.trainer.device, parts.trainer.precision)  # type: ignore[arg-type]
