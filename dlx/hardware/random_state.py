"""Seed, save and restore every random-number generator of a run."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(value: int) -> None:
    """Seed torch on every device, Python and numpy."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def get_random_state() -> dict[str, Any]:
    """Return every generator's state, as tensors and numbers."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `get_random_state` returned; a GPU that is no longer there is skipped."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        for index, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(value.cpu(), index)
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


@contextmanager
def use_own_random_state(*seeds: int) -> Iterator[None]:
    """Draw from generators seeded by some numbers within the context; the run's own go on where they stood."""
    state = get_random_state()
    seed_everything(int(np.random.SeedSequence([n % 2**64 for n in seeds]).generate_state(1, np.uint64)[0]) % 2**63)
    try:
        yield
    finally:
        set_random_state(state)
