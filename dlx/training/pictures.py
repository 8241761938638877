"""Log the pictures of a model and a task, and the projector's embedding."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlx.datasets.loader import Loader
from dlx.hardware.out_of_memory import retry_on_oom
from dlx.loggers.run_logger import RunLogger
from dlx.models.interfaces import Encoder, Pictured
from dlx.tasks.task import Task, take_inputs


@torch.no_grad()
def log_pictures(
    model: nn.Module,
    task: Task,
    data: Loader,
    logger: RunLogger,
    step: int,
    visuals: Sequence[str],
    device: torch.device,
) -> None:
    """Log the pictures of the model and the task on the validation split (the test split where there is none).

    Args:
        model: put into evaluation mode meanwhile.
        task: draws its pictures of the model's outputs.
        data: batches of all splits.
        logger: takes the pictures.
        step: steps taken so far.
        visuals: methods of `dlx.interpretability`.
        device: of the model.
    """
    training = model.training
    model.eval()
    split = next((name for name in ("val", "test", "train") if data.has_split(name)), "train")
    pictures = dict(retry_on_oom(data, lambda: task.pictures(model, data.split(split))))
    if isinstance(model, Pictured):
        draw_own: Any = model.pictures
        dataset, accepted = data.dataset, inspect.signature(draw_own).parameters
        names = {"symbols": dataset.vocabulary or dataset.names, "classes": dataset.names}
        pictures.update(draw_own(**{name: value for name, value in names.items() if name in accepted}))
    if visuals and logger.is_enabled("images"):
        from dlx.interpretability.visuals import draw_during_training

        visuals_by_name = draw_during_training(model, data.dataset, split, visuals, device)
        pictures.update({f"visuals/{name}": picture for name, picture in visuals_by_name.items()})
    for name, picture in pictures.items():
        logger.images(name, picture, step)
    if logger.is_enabled("embedding") and isinstance(model, Encoder):
        _log_embedding(model, data, split, logger)
    model.train(training)


def _log_embedding(model: nn.Module, data: Loader, split: str, logger: RunLogger, most: int = 1000) -> None:
    """Log the model's codes of a split's first examples for TensorBoard's projector."""
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
