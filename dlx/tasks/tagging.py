"""Tagging: a class for every step of a sequence."""

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Split
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.tasks.steps import Steps, StepTask, as_step_model, sequence_mask
from dlx.tasks.task import require_labels


class Tagging(StepTask):
    """Models give scores (batch, T, classes); labels are (batch, T), and padding does not count."""

    needs: ClassVar[str | None] = "classes"
    monitor = "accuracy"
    declares: ClassVar[tuple[str | Metric, ...]] = ("accuracy", "error", "sequence_accuracy")

    def attach(self, dataset: Dataset) -> None:
        super().attach(dataset)
        dataset.when_read(lambda: _check_labels(dataset))

    def pairs(self, batch: Batch) -> Steps:
        return Steps(batch.x, require_labels(batch), sequence_mask(batch.lengths, batch.x), batch.lengths)

    def costs(self, scores: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(scores.transpose(1, 2), y, reduction="none")

    def counted(self, scores: Tensor, steps: Steps) -> dict[str, Tensor]:
        right = ((scores.argmax(2) == steps.y) & steps.counts).sum(1)
        all_right = right == steps.counts.sum(1)
        return {**super().counted(scores, steps), "right": right, "sequence_accuracy": all_right}

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        accuracy = float(means["right"] / means["steps"])
        shares = {"accuracy": accuracy, "error": 1 - accuracy, "sequence_accuracy": float(means["sequence_accuracy"])}
        return {**super().finish(means), **shares}

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return labels, (batch, T)."""
        return as_step_model(model).steps(x)[0].argmax(2)

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return labels (batch, T), and the probability of each class at each step (batch, T, classes)."""
        scores = as_step_model(model).steps(x)[0]
        return {"label": scores.argmax(2), "probability": scores.softmax(2)}


def _check_labels(dataset: Dataset) -> None:
    train = dataset.splits["train"]
    if isinstance(train, Split) and (train.y is None or train.y.ndim != 2):
        raise UsageError(
            f"task=tagging was given for {dataset.source}, which has no label at each step; needed: one for each, "
            "as dataset=conll has; type another dataset=, or a model that is not told them"
        )
