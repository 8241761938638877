"""Evaluate, predict and sample with a trained model; its run directory stays as it is."""

import inspect
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.preprocessing import Scaling
from dlx.datasets.sequences import padding
from dlx.errors import UsageError
from dlx.hardware.device import autocast
from dlx.hardware.out_of_memory import retry_on_oom
from dlx.hardware.random_state import seed_everything
from dlx.models.interfaces import PartitionFunction, Sampling, StepModel
from dlx.parts import Parts
from dlx.tasks.density import Density
from dlx.tasks.prediction import Prediction
from dlx.tasks.scores import Report
from dlx.tasks.task import accepts_lengths
from dlx.trained import stepwise
from dlx.training.evaluate import evaluate_split, look_at_split


def with_ais(parts: Parts, temperatures: int = 14500) -> Parts:
    """Return the parts with a density task that estimates log Z by annealed importance sampling.

    Args:
        parts: a trained run's, whatever its task was.
        temperatures: of the annealing, unless the task sets its own number.

    Raises:
        UsageError: the model has no partition function.
    """
    if not isinstance(parts.model, PartitionFunction):
        raise UsageError(
            f"--ais was given; {type(parts.model).__name__} has no partition function to be estimated; needed: a "
            "Boltzmann machine, rbm, dbn or dbm; leave it out"
        )
    task = parts.task if isinstance(parts.task, Density) else Density()
    task.ais = task.ais or temperatures
    return parts._replace(task=task)


@torch.no_grad()
def measure(parts: Parts, split: str) -> dict[str, float]:
    """Return the task's metrics on a split, named `split/metric`; the same at every call.

    Raises:
        UsageError: the dataset has no such split.
    """
    if not parts.data.has_split(split):
        raise UsageError(
            f"split {split} was given; {parts.dataset.source} has {', '.join(parts.dataset.splits)}; "
            "type --split with one of them"
        )
    with _autocast(parts):
        metrics = evaluate_split(parts.model, parts.task, parts.data, split)
        further = look_at_split(parts.data, split, lambda batches: parts.task.score(parts.model, batches))
        metrics |= {name: value for name, value in further.items() if name not in metrics}
    return {f"{split}/{name}": value for name, value in metrics.items()}


@torch.no_grad()
def report(parts: Parts, split: str) -> Report:
    """Return the task's report on a split, as tables.

    Raises:
        UsageError: the task has none.
    """
    with _autocast(parts):
        return look_at_split(parts.data, split, lambda batches: parts.task.report(parts.model, batches))


@torch.no_grad()
def predict(parts: Parts, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """Predict for raw examples, in the units of the data.

    Args:
        parts: a trained run's.
        x: (examples, *shape) as the dataset holds them, before scaling.
        lengths: (examples,) of sequences that are padded; none of them sees its padding.

    Returns:
        Columns (examples, ...) on the CPU; the first is the prediction itself. Where there is one for each step of a
        sequence, shorter sequences are padded with -1 or NaN.
    """
    dataset, device = parts.dataset, parts.trainer.device
    if dataset.kind in ("sequence", "symbols") and not accepts_lengths(parts.model):
        x, lengths = _pad_to_shape(x, lengths, parts), None
    seed_everything(parts.config.seed)

    def predict_columns() -> dict[str, Tensor]:
        columns: dict[str, list[Tensor]] = {}
        places: list[Tensor] = []
        for rows, chunk in stepwise.iterate_chunks(x, lengths, parts.data.eval_batch):
            given = dataset.transform_on(chunk, device)
            places.append(rows)
            for name, value in parts.task.predictions(parts.model, given).items():
                columns.setdefault(name, []).append(_to_numpy_dtype(value))
        return {name: stepwise.concat_chunks(places, values) for name, values in columns.items()}

    with _autocast(parts):
        columns = retry_on_oom(parts.data, predict_columns)
    if "reconstruction" in columns:
        columns["reconstruction"] = inverse_transform(columns["reconstruction"], dataset)
    return columns


@torch.no_grad()
def sample(parts: Parts, n: int, seed: int | None = None, **options: Any) -> Tensor:
    """Draw `n` examples from the model, (n, *shape) on the CPU, in the units of the data.

    Args:
        parts: a trained run's.
        n: how many.
        seed: of the random draws; None takes the run's own.
        options: of some models: `length` in steps, `prompt` (a text where the dataset is one, else a tensor),
            `temperature`; `labels` (n,) of a conditional model; None means not given.

    Raises:
        UsageError: the model does not generate, or takes no such option.
    """
    if not isinstance(parts.model, Sampling) or not _predicts_next_step(parts):
        raise UsageError(
            f"the model {type(parts.model).__name__} was given; needed: one that generates (has sample(n)), such as "
            "gan or rbm, or a recurrent network trained with task=prediction on symbols or bits; type dlx list models"
        )
    generate: Any = parts.model.sample
    asked = {name: value for name, value in options.items() if value is not None}
    for name in asked.keys() - inspect.signature(generate).parameters.keys():
        raise UsageError(
            f"--{name} was given; {type(parts.model).__name__} draws whole examples; needed: a model that goes on step "
            "by step, such as lstm on a text; leave it out"
        )
    if isinstance(asked.get("prompt"), str):
        asked["prompt"] = _encode_prompt(asked["prompt"], parts.dataset)
    seed_everything(parts.config.seed if seed is None else seed)
    with _autocast(parts):
        samples: Tensor = generate(n, **asked)
    return inverse_transform(_to_numpy_dtype(samples), parts.dataset)


def _predicts_next_step(parts: Parts) -> bool:
    """Tell whether a step model was trained to predict the next step's distribution; true for other models."""
    task = parts.task
    return not isinstance(parts.model, StepModel) or (isinstance(task, Prediction) and task.cost != "mse")


def _encode_prompt(text: str, dataset: Dataset) -> Tensor:
    encode = getattr(dataset, "encode", None)
    if not callable(encode):
        raise UsageError(
            f"--prompt {text!r} was given; {dataset.source} is not text; needed: a run trained on text; leave it out"
        )
    encoded: Tensor = encode(text)
    return encoded


def _pad_to_shape(x: Tensor, lengths: Tensor | None, parts: Parts) -> Tensor:
    """Pad sequences (n, T, …) to the one length that the model reads, with what training's are padded with."""
    shape = tuple(parts.dataset.shape or ())
    if x.shape[1] > shape[0]:
        raise UsageError(
            f"sequences of {x.shape[1]} steps were given; needed: at most {shape[0]}, which is what the model "
            f"{type(parts.model).__name__} was trained on; dlx list models shows those that read any number"
        )
    own = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
    x = padding.pad_to(x, shape[0])
    real = torch.arange(shape[0]) < own[:, None]
    return torch.where(real.view(*real.shape, *[1] * (x.ndim - 2)), x, parts.dataset.padding.to(x))


def _to_numpy_dtype(values: Tensor) -> Tensor:
    """Move values to the CPU, in a dtype that numpy has."""
    return values.cpu().float() if values.dtype in (torch.bfloat16, torch.float16) else values.cpu()


def inverse_transform(x: Tensor, dataset: Scaling) -> Tensor:
    """Undo the dataset's scaling: return what a model generates, in the units of the data, in float64.

    Whole numbers and values of another shape stay as they are.

    Args:
        x: (n, *shape), as `dataset.transform` would give it; sequences may have another number of steps.
        dataset: with what was fitted.
    """
    shape, steps = tuple(dataset.shape or ()), dataset.kind in ("sequence", "symbols")
    fits = tuple(x.shape[1:]) == shape or (steps and x.ndim == len(shape) + 1 and tuple(x.shape[2:]) == shape[1:])
    return dataset.inverse_transform(x) if fits and x.is_floating_point() else x


def _autocast(parts: Parts) -> Any:
    return autocast(parts.trainer.device, parts.trainer.precision)  # type: ignore[arg-type]
