"""Micro-batches: take a batch's gradient in parts, where the whole does not fit into memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.errors import TrainingError
from dlx.hardware.out_of_memory import empty_cache, is_out_of_memory, split_batch

Gradient = tuple[Any, Tensor]  # the gradient of each parameter, None where the loss does not reach it, and the loss


class MicroBatches:
    """Take a batch at once; where memory runs out, halve what is taken at once, and stay there.

    The result is the mean over the batch: the gradient of the whole, if nothing in the model looks at several examples
    together, as batch normalization does.

    Args:
        gradient: of a batch.
        weigh: what a batch's loss is the mean over, its examples or its steps.
    """

    def __init__(
        self,
        gradient: Callable[[Batch], Gradient],
        weigh: Callable[[Batch], int | Tensor] = lambda batch: len(batch.x),
    ) -> None:
        self.gradient, self.weigh = gradient, weigh
        self.size: int | None = None  # examples taken at once; None for all of them
        self.notices: list[str] = []

    def __call__(self, batch: Batch) -> Gradient:
        """Return a batch's gradient and its loss, 0-d and detached.

        Raises:
            TrainingError: a single example does not fit.
        """
        if self.size is None:  # as a rule; nothing is asked of the batch here, which would take a microsecond
            try:
                return self.gradient(batch)
            except RuntimeError as error:
                self._halve(error, len(batch.x), len(batch.x))
            empty_cache()  # here the error, and with it what the step held, is gone
        return self._run_in_parts(batch)

    def _run_in_parts(self, batch: Batch) -> Gradient:
        total = len(batch.x)
        while True:
            assert self.size is not None
            size = min(self.size, total)
            try:
                return self.gradient(batch) if size == total else self._sum_parts(batch, size)
            except RuntimeError as error:
                self._halve(error, size, total)
            empty_cache()

    def _halve(self, error: RuntimeError, size: int, total: int) -> None:
        """Take half as many at once from now on, if it was memory that ran out with `size` of `total` examples."""
        if not is_out_of_memory(error):
            raise error
        if size == 1:
            raise TrainingError(
                f"memory does not suffice for a single example ({str(error).splitlines()[0][:200]}); what helps, in "
                "this order: trainer.precision=bf16, a smaller model or smaller examples, trainer.device=cpu"
            ) from error
        self.size = size // 2
        self.notices.append(
            f"out of memory with {size} examples at once: going on with {self.size}, whose gradients add up to "
            f"those of a batch of {total} (batch normalization sees {self.size})"
        )

    def _sum_parts(self, batch: Batch, size: int) -> Gradient:
        total: list[Tensor | None] = []
        mean: Tensor | None = None
        for part in split_batch(batch, size):
            share = float(self.weigh(part)) / max(float(self.weigh(batch)), 1.0)
            grads, loss = self.gradient(part)
            mean = loss * share if mean is None else mean + loss * share
            if not total:
                total = [None] * len(grads)
            for i, grad in enumerate(grads):
                if grad is not None:
                    kept = total[i]
                    total[i] = grad * share if kept is None else kept.add_(grad, alpha=share)
        assert isinstance(mean, torch.Tensor)
        return total, mean
