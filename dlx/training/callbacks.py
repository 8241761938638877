"""Callbacks of the trainer: a sweep prunes by one."""

from collections.abc import Mapping
from typing import Protocol


class ValidationCallback(Protocol):
    """Called after every validation; may end the training."""

    def __call__(self, epoch: int, metrics: Mapping[str, float], monitor: str) -> bool:
        """Return whether to stop.

        Args:
            epoch: epochs finished.
            metrics: the latest values by tag, the validation's among them.
            monitor: the tag by which the best model is chosen.
        """
