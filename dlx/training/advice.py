"""Say before the training what cannot have an effect, and what its numbers will be worth."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from dlx.datasets.loader import Loader
from dlx.errors import UsageError
from dlx.metrics import list_declared
from dlx.models.interfaces import DataInitialized
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.training.trainer import Trainer
from dlx.training.units import remark_scaled_inputs

FEW_EXAMPLES = 100  # in a validation split: an accuracy moves by more than a point
FEW_UPDATES = 100
INIT_EXAMPLES = 5000  # that a model which sets weights from data is shown, at most


def validates(trainer: Trainer, data: Loader) -> bool:
    """Return whether the validation split is ever measured."""
    return bool(trainer.validate_every) and "val" in trainer.splits and data.has_split("val")


def refuse_contradictions(config: Any, trainer: Trainer, model: nn.Module, data: Loader) -> None:
    """Refuse what would wait for a validation that never comes, and batches that cannot be normalised.

    Raises:
        UsageError: there is no validation, and trainer.patience or the schedule goes by it; or the last batch has a
            single example, of which batch normalization cannot take a variance.
    """
    if not validates(trainer, data):
        if not data.has_split("val"):
            why, remedy = f"{data.dataset.source} has no validation split", "dataset.val=0.1"
        elif not trainer.validate_every:
            why, remedy = "trainer.validate_every=0 leaves validation out", "trainer.validate_every=1"
        else:
            why, remedy = f"trainer.evaluate={trainer.splits} leaves the validation split out", "trainer.evaluate=[val]"
        if trainer.early_stopping.patience is not None:
            raise UsageError(
                f"trainer.patience={trainer.early_stopping.patience} was given, which counts validations; {why}; "
                f"type {remedy}, or trainer.patience=null"
            )
        if str((config.get("scheduler") or {}).get("_target_", "")).endswith(".ReduceLROnPlateau"):
            raise UsageError(
                f"scheduler=plateau was given, which goes by validations; {why}; type {remedy}, or another scheduler="
            )
    last = data.examples - (data.steps - 1) * data.batch
    if last == 1 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        sizes = sorted(range(2, data.examples + 1), key=lambda size: abs(size - data.batch))
        better = next((size for size in sizes if data.examples % size != 1), None)
        raise UsageError(
            f"trainer.batch={data.batch} leaves a last batch of 1 of the {data.examples} examples, whose variance "
            "batch normalization cannot take; "
            + (f"type trainer.batch={better}" if better else "type model.batch_norm=false, or give more examples")
        )


def list_remarks(
    overrides: Sequence[str], trainer: Trainer, task: Task, model: nn.Module, procedure: Procedure, data: Loader
) -> list[str]:
    """Return what the user should know of a training before it starts, a line each.

    Args:
        overrides: as they were typed.
        trainer, task, model, procedure, data: bound to each other.
    """
    typed = {word.lstrip("+~").partition("=")[0] for word in overrides}
    declared = [*task.list_metrics(), *list_declared(type(model)), *procedure.list_metrics()]
    units = remark_scaled_inputs(data.dataset, model, declared)
    return [
        *_list_idle(typed, trainer, procedure, data),
        *_list_weak(trainer, task, model, procedure, data),
        *([units] if units else []),
    ]


def _list_idle(typed: set[str], trainer: Trainer, procedure: Procedure, data: Loader) -> list[str]:
    """Return a line for each option that was typed and can have no effect."""
    lines = []
    for group in ("optimizer", "scheduler"):
        words = sorted(word for word in typed if word.partition(".")[0] == group)
        if words and not procedure.takes(group):
            lines.append(f"{', '.join(words)}: no effect, procedure {type(procedure).__name__} has no use for it")
    if "trainer.epochs" in typed and procedure.one_pass and trainer.epochs > 1:
        lines.append(f"trainer.epochs={trainer.epochs}: no effect, {type(procedure).__name__} is done after one pass")
    if "trainer.min_delta" in typed and trainer.early_stopping.min_delta and trainer.early_stopping.patience is None:
        lines.append("trainer.min_delta: no effect without trainer.patience")
    missing = [split for split in trainer.splits if split != "val" and not data.has_split(split)]
    if "trainer.evaluate" in typed and missing:
        lines.append(f"trainer.evaluate: {data.dataset.source} has no split {', '.join(missing)}")
    return lines


def _list_weak(trainer: Trainer, task: Task, model: nn.Module, procedure: Procedure, data: Loader) -> list[str]:
    """Return a line for each reason why the numbers of this training say little."""
    lines = []
    weak = []
    held_out = next((name for name in ("val", "test") if data.has_split(name)), None)
    if held_out is not None and len(data.dataset.splits[held_out]) < FEW_EXAMPLES:
        n = len(data.dataset.splits[held_out])
        name = "validation" if held_out == "val" else "test"
        points = f": an accuracy moves by {100 / n:.3g} points" if task.monitor == "accuracy" else ""
        weak.append(f"{n} {name} example{'' if n == 1 else 's'}{points}")
    steps = (trainer.epochs + procedure.pretraining_epochs) * data.steps
    steps = steps if trainer.max_steps is None else min(steps, trainer.max_steps)
    if procedure.takes("optimizer") and steps < FEW_UPDATES:
        updates = max(-(-steps // int(getattr(procedure, "accumulate", 1))), 1)
        weak.append(f"{updates} update{'' if updates == 1 else 's'} in all")
    if weak:
        lines.append("; ".join(weak))
    measured = [len(data.dataset.splits[name]) for name in ("val", "test") if data.has_split(name)]
    lines += filter(None, [task.remark(max(measured))] if measured else [])
    if isinstance(model, DataInitialized) and data.examples > INIT_EXAMPLES:
        lines.append(
            f"the first weights are set by {INIT_EXAMPLES:,} of the {data.examples:,} examples, drawn at random"
        )
    last = data.examples - (data.steps - 1) * data.batch
    if last == 1 and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        lines.append("the last batch has 1 example: batch normalization takes its statistics from that one alone")
    return lines
