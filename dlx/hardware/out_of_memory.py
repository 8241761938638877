"""Memory that does not suffice: how it shows, and how work is done in smaller parts."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch

from dlx.batch import Batch
from dlx.errors import TrainingError

T = TypeVar("T")
# What libraries say: CUDA and Metal; torch's allocator; C++; cuDNN and cuBLAS; oneDNN, which says no more than this.
SIGNS = re.compile(
    r"out of memory|can't allocate memory|bad_alloc|_ALLOC_FAILED|could not create a (primitive|memory object)(?! desc)"
)


class Evaluating(Protocol):
    """What cuts a split into batches for evaluation."""

    eval_batch: int  # examples at once


def exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on a processor."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and SIGNS.search(str(error)) is not None
    )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say what helps where memory runs out and nothing was done about it.

    Raises:
        TrainingError: instead of the library's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not exhausted(error):
            raise
        raise TrainingError(
            f"memory ran out ({str(error).splitlines()[0][:200]}); what helps, in this order: a smaller "
            "trainer.batch=…, trainer.precision=bf16, a smaller model or smaller examples, trainer.device=cpu"
        ) from error


def release() -> None:
    """Give back what a step that failed had reserved. Its tensors went with its error: nothing is left to collect."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def fitting(data: Evaluating, compute: Callable[[], T]) -> T:
    """What `compute` makes of `data`; where memory runs out, again with half as many examples at once, for good."""
    while True:
        try:
            return compute()
        except RuntimeError as error:
            if not exhausted(error) or data.eval_batch == 1:
                raise
        release()  # here the error, and with it what the computation held, is gone
        data.eval_batch //= 2


def parts(batch: Batch, size: int) -> Iterator[Batch]:
    """Views of `size` examples each, of the last one what is left."""
    for start in range(0, len(batch.x), size):
        yield Batch(*(None if part is None else part[start : start + size] for part in batch))  # type: ignore[arg-type]
