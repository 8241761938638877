"""What a model and a task show of themselves, handed to the logger."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlx.datasets.loader import Loader
from dlx.hardware.out_of_memory import fitting
from dlx.loggers.run_logger import Logger
from dlx.models.interfaces import Encoder, Pictured
from dlx.tasks.task import Task, take_inputs


@torch.no_grad()
def draw(
    model: nn.Module, task: Task, data: Loader, logger: Logger, step: int, visuals: Sequence[str], device: torch.device
) -> None:
    """The pictures of the model and of the task, on the validation split (the test split where there is none).

    Args:
        visuals: of dlx.seeing, what the network sees.
    """
    training = model.training
    model.eval()
    split = next((name for name in ("val", "test", "train") if data.has_split(name)), "train")
    drawn = dict(fitting(data, lambda: task.pictures(model, data.split(split))))
    if isinstance(model, Pictured):
        own: Any = model.pictures
        dataset, asked = data.dataset, inspect.signature(own).parameters
        names = {"symbols": dataset.vocabulary or dataset.names, "classes": dataset.names}
        drawn.update(own(**{name: value for name, value in names.items() if name in asked}))
    if visuals and logger.draws("images"):
        from dlx.interpretability.visuals import watch

        seen = watch(model, data.dataset, split, visuals, device)
        drawn.update({f"visuals/{name}": picture for name, picture in seen.items()})
    for name, picture in drawn.items():
        logger.images(name, picture, step)
    if logger.draws("embedding") and isinstance(model, Encoder):
        _embed(model, data, split, logger)
    model.train(training)


def _embed(model: nn.Module, data: Loader, split: str, logger: Logger, most: int = 1000) -> None:
    """The model's codes of a split's first examples, for TensorBoard's projector."""
    codes: list[Tensor] = []
    labels: list[int] = []
    for batch in data.split(split):
        codes.append(model.encode(batch.x).flatten(1).float().cpu())  # type: ignore[operator]
        if batch.y is not None and batch.y.ndim == 1:
            labels += batch.y.tolist()
        if sum(map(len, codes)) >= most:
            break
    points = torch.cat(codes)[:most]
    images = take_inputs(data.split(split), len(points)).cpu() if len(data.dataset.shape or ()) == 3 else None
    names = data.dataset.names
    shown: list[object] = [names[label] if names else label for label in labels[: len(points)]]
    logger.embedding("codes", points, shown or None, images)
