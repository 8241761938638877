"""How long a training is, where trainer.max_steps may end it before its epochs are over."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf, open_dict

from dlx.config.resolved import ResolvedConfig

FOLLOWED = "${trainer.epochs}"  # by which a schedule's number says that it goes over the whole run


class Length(NamedTuple):
    """A training without its pretraining."""

    epochs: int  # that it begins
    updates_per_epoch: int
    updates: int  # in all
    is_cut: bool  # whether trainer.max_steps ends it


def plan_length(
    epochs: int, max_steps: int | None, steps: int, accumulate: int = 1, pretraining_epochs: int = 0
) -> Length:
    """Return how long a training is.

    Args:
        epochs: `trainer.epochs`.
        max_steps: `trainer.max_steps`, over pretraining and training.
        steps: in an epoch.
        accumulate: steps of an update; what an epoch leaves over makes one of its own.
        pretraining_epochs: passes that come first.
    """
    each = -(-steps // accumulate)
    left = None if max_steps is None else max(max_steps - pretraining_epochs * steps, 1)
    if left is None or left >= epochs * steps:
        return Length(epochs, each, epochs * each, False)
    whole, rest = divmod(left, steps)
    return Length(whole + (rest > 0), each, max(whole * each + rest // accumulate, 1), True)


def find_followers(config: DictConfig | ResolvedConfig) -> list[str]:
    """Return the keys of the scheduler that follow `trainer.epochs`."""
    node: Any = config.get("scheduler") or {}
    raw = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node
    assert isinstance(raw, dict)
    return [str(key) for key, value in raw.items() if value == FOLLOWED]


def set_followers(config: DictConfig | ResolvedConfig, keys: Sequence[str], epochs: int) -> None:
    """Set numbers of the scheduler to the epochs that the training takes."""
    with open_dict(config) if isinstance(config, DictConfig) else contextlib.nullcontext():
        for key in keys:
            config.scheduler[key] = epochs
