"""Who looks on while a trainer trains: a sweep that prunes."""

from collections.abc import Mapping
from typing import Protocol


class Watch(Protocol):
    """Looks on from outside, and may end a training that is not worth going on with."""

    def __call__(self, epoch: int, metrics: Mapping[str, float], monitor: str) -> bool:
        """Whether to stop.

        Args:
            epoch: passes finished.
            metrics: the latest values by tag, a validation's among them.
            monitor: the tag by which the best model is chosen.
        """
