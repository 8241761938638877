"""Metrics of a model over a split: exact means, one synchronisation."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.tasks.task import Task


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, batches: Iterable[Batch]) -> dict[str, float]:
    """The task's metrics over `batches`, every example weighted alike however the batches were cut.

    Sums are kept in float64 on the model's device (float32 on Apple's, which has no float64) and fetched once.
    """
    training = model.training
    model.eval()
    sums: dict[str, Tensor] = {}
    examples = 0
    try:
        for batch in batches:
            size = len(batch.x)
            examples += size
            wide = torch.float32 if batch.x.device.type == "mps" else torch.float64
            for name, value in task.metrics(model, batch).items():
                total = value.to(wide).sum(0) if value.ndim else value.to(wide) * size
                sums[name] = sums[name] + total if name in sums else total
        means = {name: total.cpu().double() / max(examples, 1) for name, total in sums.items()}
        final = task.finish(means) if means else {}
        final.update(task.whole(model, batches))
        return final
    finally:
        model.train(training)
