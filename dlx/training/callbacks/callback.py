"""The protocol of a callback: what the training loop calls, and when."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dlx.datasets.loader import Loader
from dlx.errors import UsageError
from dlx.loggers.histogram import Histogram
from dlx.loggers.run_logger import RunLogger
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.training.checkpoint import Checkpoints

Hooks = Mapping[str, tuple[Callable[..., None], ...]]  # of all callbacks in their order, by the hook's name


class Training(Protocol):
    """What a callback finds in the trainer that it is handed."""

    epoch: int  # epochs finished
    step: int  # steps taken
    latest: dict[str, float]  # the newest values, by tag such as `val/accuracy`
    model: nn.Module
    task: Task
    procedure: Procedure
    data: Loader
    logger: RunLogger
    checkpoints: Checkpoints
    callbacks: dict[str, "Callback"]  # those that were added, by name

    def stop(self, reason: str, status: str = "finished", to_resume: str = "") -> None:
        """End the training; see `dlx.training.trainer.Trainer.stop`."""

    def evaluate(self, split: str) -> dict[str, float]:
        """Return the task's metrics on a split, with the present model."""

    def log_pictures(self) -> None:
        """Log the pictures of the model and the task."""

    def compute_histograms(self) -> Mapping[str, Histogram | None]:
        """Return the histograms of the weights, by name."""


class Callback:
    """Watches a training, and may end it by `trainer.stop(reason)`. A hook that is not overridden costs nothing.

    A hook finds everything in the trainer (see `Training`). One that puts the model into evaluation mode puts it back.
    With several processes each has its own copy of every callback, and all hooks run in all of them; the first one's
    stop counts, and its state is saved.
    """

    def on_fit_start(self, trainer: Training) -> None:
        """Handle the start of training, resumed or not; `load_state_dict` has been called."""

    def on_fit_end(self, trainer: Training) -> None:
        """Handle the regular end, after the last checkpoint; not called if training fails or is interrupted."""

    def on_epoch_start(self, trainer: Training) -> None:
        """Handle the start of an epoch; not called where a run resumes in the middle of one."""

    def on_epoch_end(self, trainer: Training) -> None:
        """Handle the end of an epoch, its validation included; the checkpoint is saved afterwards."""

    def on_step_end(self, trainer: Training, values: Mapping[str, Tensor]) -> None:
        """Handle the end of a step.

        Args:
            trainer: has counted the step.
            values: what the step returned, by name; tensors on the model's device: a number made of one waits for it.
        """

    def on_validation_start(self, trainer: Training) -> None:
        """Handle the start of a validation."""

    def on_validation_end(self, trainer: Training, metrics: Mapping[str, float]) -> None:
        """Handle the end of a validation.

        Args:
            trainer: has counted the epoch.
            metrics: by tag, `val/accuracy`; this epoch's training values, `train/loss`, among them.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: tensors, numbers, strings, None, lists and dicts only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def collect_hooks(callbacks: Iterable[Callback]) -> Hooks:
    """Return the hooks that callbacks override, in the callbacks' order."""
    known = list(callbacks)

    def find(name: str) -> tuple[Callable[..., None], ...]:
        return tuple(getattr(c, name) for c in known if getattr(type(c), name) is not getattr(Callback, name))

    return {name: find(name) for name in HOOKS}


def check_state(name: str, state: Any) -> None:
    """Refuse a state that a checkpoint could not give back.

    Args:
        name: where it stands, for the message: `callbacks.mine`.
        state: what `state_dict` returned.

    Raises:
        UsageError: it holds something else than tensors, numbers, strings, None, lists and dicts.
    """
    if isinstance(state, Mapping) and type(state) is dict:
        for key, value in state.items():
            check_state(f"{name}.{key}", value)
    elif type(state) in (list, tuple):
        for place, value in enumerate(state):
            check_state(f"{name}[{place}]", value)
    elif not (state is None or type(state) in (Tensor, torch.nn.Parameter, bool, int, float, complex, str, bytes)):
        raise UsageError(
            f"the state of {name} is {type(state).__module__}.{type(state).__qualname__}; needed from state_dict: "
            "tensors, numbers, strings, None, lists and dicts, which a checkpoint gives back"
        )
