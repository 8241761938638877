"""Evaluate all trials of a stack on a split, as `dlx.training.evaluate` does one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlx.tasks.task import Task
from dlx.vectorized.stack import Stack
from dlx.vectorized.stacked_loader import StackedLoader
from dlx.vectorized.trial import Trial


def evaluate_trials(stack: Stack, trials: Sequence[Trial], loader: StackedLoader, split: str) -> list[dict[str, float]]:
    """Return the metrics of each trial, every example weighted alike."""
    sums: dict[str, Tensor] = {}
    examples = 0
    wide = torch.float32 if stack.device.type == "mps" else torch.float64
    for batch in loader.split(split):
        size = batch.x.shape[1] if loader.per_trial else len(batch.x)
        examples += size
        for name, value in stack.compute_metrics(batch, loader.per_trial).items():  # (K,), or (K, batch, …)
            total = value.to(wide).sum(1) if value.ndim > 1 else value.to(wide) * size
            sums[name] = sums[name] + total if name in sums else total
    means = {name: total.cpu().double() / max(examples, 1) for name, total in sums.items()}
    return [
        _finish_metrics(trial, {name: mean[k] for name, mean in means.items()}, split) for k, trial in enumerate(trials)
    ]


def _finish_metrics(trial: Trial, means: dict[str, Tensor], split: str) -> dict[str, float]:
    """Return a trial's final metrics, from the means over the examples and what only a whole split defines."""
    task, model = trial.parts.task, trial.parts.model
    final = task.finish(means)
    if type(task).split_metrics is not Task.split_metrics:  # each trial computes them by itself
        model.eval()
        with torch.no_grad(), trial.member.use_random_state():
            final |= task.split_metrics(model, trial.parts.data.split(split))
        model.train()
    return final
