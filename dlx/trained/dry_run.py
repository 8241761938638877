"""Do everything that training does once, on a few examples, without a run directory."""

import io
import math
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.hardware.device import autocast
from dlx.hardware.random_state import get_random_state
from dlx.parts import Parts, add_callbacks, assemble
from dlx.runs.saved import copy_config
from dlx.training.batch_size import DEFAULT_SIZE
from dlx.training.evaluate import evaluate

EXAMPLES = 256  # at most, to train and evaluate on


class DryRunResult(NamedTuple):
    """The outcome of one step."""

    parameters: int
    train_metrics: dict[str, float]  # returned by the step and the end of the epoch
    eval_metrics: dict[str, float]  # on a few examples


def dry_run(config: DictConfig) -> DryRunResult:
    """Build everything, take one step, end the epoch, evaluate, and save and load the state.

    Raises:
        UsageError: a part refuses its values or another part, or the saved state does not load.
    """
    config = copy_config(config)
    _shorten(config)
    parts = add_callbacks(assemble(config, fresh=True))
    with autocast(parts.trainer.device, parts.trainer.precision):  # type: ignore[arg-type]
        parts.model.train()
        batch = next(iter(parts.data.train(0)))
        train_metrics = {**parts.procedure.step(batch), **parts.procedure.end_epoch()}
        eval_metrics = evaluate(parts.model, parts.task, _get_few_examples(parts))
    _check_reload(parts)
    return DryRunResult(
        parameters=sum(p.numel() for p in parts.model.parameters()),
        train_metrics={name: float(value) for name, value in train_metrics.items()},
        eval_metrics={name: value for name, value in eval_metrics.items() if math.isfinite(value)},
    )


def _shorten(config: DictConfig) -> None:
    """Limit the configuration to few examples, without compiling; stratified, so that every class is there."""
    config.trainer.compile = False
    if config.trainer.batch == "auto":  # searched for when training starts
        config.trainer.batch = DEFAULT_SIZE
    if config.trainer.batch == "full" and "limit" in config.dataset and config.dataset.limit is None:
        config.dataset.limit = EXAMPLES


def _get_few_examples(parts: Parts) -> list[Batch]:
    split = next(name for name in ("val", "test", "train") if parts.data.has_split(name))
    x, y, lengths = next(iter(parts.data.split(split)))
    return [Batch(*(None if part is None else part[:EXAMPLES] for part in (x, y, lengths)))]  # type: ignore[arg-type]


def _check_reload(parts: Parts) -> None:
    """Check that the saved state loads, with tensors and numbers only."""
    state: dict[str, Any] = {
        "model": parts.model.state_dict(),
        "procedure": parts.procedure.state_dict(),
        "trainer": parts.trainer.state_dict(),
        "random": get_random_state(),
    }
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        parts.trainer.restore(torch.load(file, weights_only=True), parts.model, parts.procedure)
    except Exception as error:  # whatever a model or a procedure of the user's raises
        raise UsageError(
            f"the state of {type(parts.model).__name__} or {type(parts.procedure).__name__} was saved and does not "
            f"load ({type(error).__name__}: {str(error).splitlines()[0][:300]}); needed: a state_dict of tensors, "
            "numbers, text, lists and dicts, which load_state_dict takes back"
        ) from error
