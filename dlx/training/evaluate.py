"""Compute a model's metrics over a split: exact means, one device synchronisation."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.datasets.loader import Loader
from dlx.distributed.group import current_group
from dlx.hardware.out_of_memory import retry_on_oom
from dlx.hardware.random_state import use_own_random_state
from dlx.tasks.task import Task

T = TypeVar("T")
LOOKS = ("train", "val", "test", "pictures")  # what is looked at: each draws random numbers of its own


def evaluate_split(model: nn.Module, task: Task, data: Loader, split: str) -> dict[str, float]:
    """Return the task's metrics over a split."""
    return look_at_split(data, split, lambda batches: evaluate(model, task, batches))


def look_at_split(data: Loader, split: str, look: Callable[[Iterable[Batch]], T]) -> T:
    """Return what `look` makes of a split's batches.

    What it draws by chance are the same numbers each time, and none that the training would draw.
    """
    place = LOOKS.index(split) if split in LOOKS else len(LOOKS)
    with use_own_random_state(data.seed, place, current_group().rank):
        return retry_on_oom(data, lambda: look(data.split(split)))


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the task's metrics over `batches`, every example weighted equally whatever the batch sizes.

    Sums are kept in float64 on the model's device (float32 on Apple's, which has no float64) and fetched once. Of
    several processes each measures every world_size-th batch, and all of them get the result.
    """
    training, group = model.training, current_group()
    model.eval()
    sums: dict[str, Tensor] = {}
    examples = 0
    try:
        for number, batch in enumerate(batches):
            if number % group.world_size != group.rank:
                continue
            size = len(batch.x)
            examples += size
            wide = torch.float32 if batch.x.device.type == "mps" else torch.float64
            for name, value in task.metrics(model, batch).items():
                total = value.to(wide).sum(0) if value.ndim else value.to(wide) * size
                sums[name] = sums[name] + total if name in sums else total
        sums, examples = _add_sums(
            group.all_gather(({name: total.cpu().double() for name, total in sums.items()}, examples))
        )
        means = {name: total / max(examples, 1) for name, total in sums.items()}
        final = task.finish(means) if means else {}
        # All processes look at the whole split, as long as one of them does.
        final.update(group.broadcast(task.split_metrics(model, batches)))
        return final
    finally:
        model.train(training)


def _add_sums(parts: list[tuple[dict[str, Tensor], int]]) -> tuple[dict[str, Tensor], int]:
    """Add up the ranks' sums and numbers of examples; a small split leaves some ranks without any."""
    (sums, examples), *others = parts
    for more, count in others:
        examples += count
        sums = {name: total + more[name] if name in more else total for name, total in sums.items()}
    return sums, examples
