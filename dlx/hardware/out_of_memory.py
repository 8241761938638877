"""Recognise and explain errors of memory that ran out, and repeat work in smaller batches."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch

from dlx.batch import Batch
from dlx.errors import TrainingError

T = TypeVar("T")
# Messages of CUDA and Metal; torch's allocator; C++; cuDNN and cuBLAS; oneDNN, which says no more than this.
OOM_MESSAGES = re.compile(
    r"out of memory|can't allocate memory|bad_alloc|_ALLOC_FAILED|could not create a (primitive|memory object)(?! desc)"
)


class EvaluationBatches(Protocol):
    """Cuts a split into batches for evaluation."""

    eval_batch: int  # examples at once


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on a processor."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and OOM_MESSAGES.search(str(error)) is not None
    )


@contextlib.contextmanager
def explain_oom() -> Iterator[None]:
    """Replace a library's out-of-memory error by one that says what helps.

    Raises:
        TrainingError: memory ran out within the context.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"memory ran out ({str(error).splitlines()[0][:200]}); what helps, in this order: a smaller "
            "trainer.batch=…, trainer.precision=bf16, a smaller model or smaller examples, trainer.device=cpu"
        ) from error


def empty_cache() -> None:
    """Release what a failed step had reserved on the GPU. Its tensors went with its error: no garbage is left."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def retry_on_oom(data: EvaluationBatches, compute: Callable[[], T]) -> T:
    """Return `compute()`; where memory runs out, halve `data`'s evaluation batch for good and try again."""
    while True:
        try:
            return compute()
        except RuntimeError as error:
            if not is_out_of_memory(error) or data.eval_batch == 1:
                raise
        empty_cache()  # here the error, and with it what the computation held, is gone
        data.eval_batch //= 2


def split_batch(batch: Batch, size: int) -> Iterator[Batch]:
    """Yield views of `size` examples each; the last one may be smaller."""
    for start in range(0, len(batch.x), size):
        yield Batch(*(None if part is None else part[start : start + size] for part in batch))  # type: ignore[arg-type]
