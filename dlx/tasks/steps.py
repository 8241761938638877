"""The base of tasks with an answer at every step of a sequence."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import StepModel
from dlx.tasks.task import Task


class Steps(NamedTuple):
    """A batch, step by step."""

    x: Tensor  # (batch, T, features), or (batch, T) symbols: what the model reads
    y: Tensor  # (batch, T) classes, or (batch, T, outputs): what it should answer
    counts: Tensor  # (batch, T) bool: the answers that count
    lengths: Tensor | None = None  # (batch,) steps to be read; None for all of them

    def cut(self, start: int, stop: int) -> "Steps":
        """Return steps start, …, stop - 1 of every sequence; of one that is over, none is left to be read."""
        lengths = None if self.lengths is None else (self.lengths - start).clamp(0, stop - start)
        return Steps(self.x[:, start:stop], self.y[:, start:stop], self.counts[:, start:stop], lengths)


def sequence_mask(lengths: Tensor | None, x: Tensor) -> Tensor:
    """Return which steps of x (batch, T, …) are no padding, (batch, T) bool."""
    B, T = x.shape[:2]
    if lengths is None:
        return torch.ones(B, T, dtype=torch.bool, device=x.device)
    return torch.arange(T, device=x.device) < lengths[:, None]


class StepTask(Task):
    """Base of tasks whose loss is a sum over steps: a subclass says what is read, what is asked, and what a step costs.

    The loss is the mean over all steps that count, so that padding weighs nothing and long sequences weigh more.
    """

    asks: ClassVar[str] = "steps"  # the method that a model must have
    declares: ClassVar[tuple[str | Metric, ...]] = ("loss",)

    def validate_model(self, model: nn.Module) -> None:
        as_step_model(model)

    def pairs(self, batch: Batch) -> Steps:
        """Return what a model reads and what it should answer."""
        raise NotImplementedError

    def costs(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return each step's loss, (batch, T), of scores (batch, T, outputs); anything where no answer counts."""
        raise NotImplementedError

    def counted(self, scores: Tensor, steps: Steps) -> dict[str, Tensor]:
        """Return sums over each example's steps, (batch,): `cost`, `steps`, and what else `finish` makes metrics of."""
        cost = self.costs(scores, steps.y).where(steps.counts, 0).sum(1)
        return {"cost": cost, "steps": steps.counts.sum(1)}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        steps = self.pairs(batch)
        scores, _ = as_step_model(model).steps(steps.x, steps.lengths)
        return self.mean(scores, steps)

    def weigh(self, batch: Batch) -> Tensor:
        """Return how many steps count, 0-d: the loss is the mean over them."""
        return self.pairs(batch).counts.sum()

    def mean(self, scores: Tensor, steps: Steps) -> Tensor:
        """Return the loss, 0-d: the mean cost of the steps that count."""
        cost = self.costs(scores, steps.y).where(steps.counts, 0).sum()
        return cost / steps.counts.sum().clamp(min=1)

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        steps = self.pairs(batch)
        scores, _ = as_step_model(model).steps(steps.x, steps.lengths)
        return self.counted(scores, steps)

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        return {"loss": float(means["cost"] / means["steps"])}


def as_step_model(model: nn.Module) -> StepModel:
    """Return the model, typed as one that answers at every step.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(model, StepModel):
        raise UsageError(
            f"a task with an answer at every step was given the model {type(model).__name__}; needed: one with "
            "steps(x), such as lstm or gru; type dlx list models, or another task= (dlx list tasks)"
        )
    return cast(StepModel, model)
