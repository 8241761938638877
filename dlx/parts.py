"""The parts that a configuration names, built, bound to each other and put on their device."""

import contextlib
import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from omegaconf import DictConfig, open_dict
from torch import nn

from dlx.batch import Batch
from dlx.config.resolved import ResolvedConfig
from dlx.datasets.dataset import Dataset
from dlx.datasets.images import input_range
from dlx.datasets.loader import Loader
from dlx.distributed.batch_norm import convert_batch_norm
from dlx.distributed.group import current_group
from dlx.errors import UsageError
from dlx.hardware.device import (
    apply_channels_last,
    autocast,
    choose_cudnn_benchmark,
    choose_matmul_precision,
    choose_threads,
)
from dlx.hardware.random_state import seed_everything
from dlx.instantiate import build, build_optional
from dlx.models import pretrained, tensor_file
from dlx.models.interfaces import DataInitialized
from dlx.models.pretrained import PretrainedInit
from dlx.procedures.procedure import Procedure
from dlx.procedures.schedule import Schedule
from dlx.runs.rundir import Run
from dlx.runs.saved import LOOKING, copied
from dlx.runs.trust import trusted
from dlx.tasks.task import Task, accepts_lengths, take_inputs
from dlx.training import batch_size, checkpoint
from dlx.training.batch_size import Found
from dlx.training.trainer import Trainer

Which = Literal["best", "last"]  # checkpoint


class Parts(NamedTuple):
    """Everything that a configuration names, built and put on its device."""

    config: DictConfig | ResolvedConfig  # complete: what was null until the data was loaded is filled in
    dataset: Dataset
    task: Task
    model: nn.Module
    procedure: Procedure
    trainer: Trainer
    data: Loader
    pretrained_init: PretrainedInit  # weights from elsewhere, and what does not learn
    machine: dict[str, Any]  # device, threads, precision and product kernels, as chosen
    batch: Found | None = None  # where trainer.batch=auto asked for it


def assemble(
    config: DictConfig | ResolvedConfig,
    fresh: bool = False,
    loaded: Dataset | None = None,
    data: Loader | None = None,
    batch: int | Literal["full"] | None = None,
) -> Parts:
    """Build every part of a configuration, data loaded, model on its device.

    Args:
        config: composed and checked; it stays as it is.
        fresh: a training begins: the model gets the weights of `pretrained`. Else they come from a checkpoint.
        loaded: the dataset, where another training of the same has loaded it.
        data: its batches, likewise.
        batch: examples in a step of all processes; None takes `trainer.batch` of each.

    Raises:
        UsageError: the data is not there or not good, or a part refuses its values.
    """
    config = copy.deepcopy(config)  # ours to complete; the caller's stays as it was
    file = tensor_file.find_tensor_file(config.get("pretrained")) if fresh else None
    seed_everything(config.seed)
    trainer: Trainer = build(config, "trainer")
    if current_group().world > 1 and trainer.device.type == "cuda":
        torch.cuda.set_device(trainer.device)  # where NCCL works
    dataset: Dataset = loaded or build(config, "dataset")
    if loaded is None:
        current_group().local_main_first(dataset.load)
    _complete(config, dataset)
    task: Task = build(config, "task")
    task.load_model = load_model
    task.attach(dataset)
    seed_everything(config.seed)  # weights do not depend on how much randomness the data took
    model: nn.Module = build(config, "model").to(trainer.device)
    input_range.validate_inputs(dataset, model)
    pretrained_init = pretrained.load_and_freeze(model, config, file)
    if trainer.visuals:
        from dlx.interpretability.visuals import suits

        suits(model, dataset, trainer.visuals, trainer.device)
    found: Found | None = None
    if trainer.batch == "auto":
        found = current_group().broadcast_result(lambda: _search(config, fresh, dataset, task, model, trainer))
    if found is not None:
        trainer.batch = config.trainer.batch = found.size  # what is saved is a number
    machine = _tune(config, trainer, model, len(dataset.splits["train"]))
    if current_group().world > 1 and trainer.sync_batch_norm:
        model = convert_batch_norm(model, trainer.device)
    if trainer.compile:
        model.compile()
    data, procedure = _learner(config, dataset, task, model, trainer, data, batch)
    return Parts(config, dataset, task, model, procedure, trainer, data, pretrained_init, machine, found)


def _learner(
    config: DictConfig | ResolvedConfig,
    dataset: Dataset,
    task: Task,
    model: nn.Module,
    trainer: Trainer,
    data: Loader | None = None,
    batch: int | Literal["full"] | None = None,
) -> tuple[Loader, Procedure]:
    """The data in batches, and the procedure, bound to the model."""
    assert trainer.batch != "auto"
    each = trainer.batch
    data = data or Loader(
        dataset,
        batch=batch or (each if each == "full" else each * current_group().world),
        device=trainer.device,
        seed=config.seed,
        memory=trainer.memory,
        workers=trainer.workers,
        trim=accepts_lengths(model),
    )
    updates = -(-data.steps // int(config.procedure.get("accumulate", 1)))
    procedure: Procedure = build(
        config,
        "procedure",
        optimizer=build_optional(config, "optimizer"),
        scheduler=make_scheduler(config, updates),
        total=trainer.epochs * data.examples,  # that the whole training sees: what anneals goes by it
    )
    data.shuffle = data.shuffle and procedure.shuffle
    procedure.scaler = trainer.loss_scale()
    procedure.strategy = trainer.strategy
    procedure.bind(model, task)
    return data, procedure


def make_scheduler(config: DictConfig | ResolvedConfig, updates: int) -> Any:
    """Return the schedule's constructor, which waits for its optimizer; None for a constant rate.

    Args:
        config: the whole configuration.
        updates: of an epoch, for schedulers that ask for `steps_per_epoch`.
    """
    made = build_optional(config, "scheduler", without=("interval",), steps_per_epoch=updates)
    return made and partial(Schedule, scheduler=made, interval=config.scheduler.get("interval", "epoch"))


def _search(
    config: DictConfig | ResolvedConfig, fresh: bool, dataset: Dataset, task: Task, model: nn.Module, trainer: Trainer
) -> Found:
    """The size that `trainer.batch=auto` asks for; what learns afterwards is not touched.

    Raises:
        UsageError: the training has begun already.
    """
    if not fresh:
        raise UsageError(
            "trainer.batch=auto was given for a run that has begun; needed: a number; leave it out to use the run's own"
        )
    tried, examples = copy.deepcopy(config), len(dataset.splits["train"])
    assert isinstance(tried, DictConfig)
    with open_dict(tried):
        tried.scheduler = {}  # one that counts on more or fewer steps would refuse these
        tried.procedure.pop("compile", None)

    def make(size: int) -> tuple[nn.Module, Procedure, Batch]:
        trial, own = copy.copy(trainer), copy.deepcopy(model)
        trial.batch = size
        _tune(config, trial, own, examples)
        data, procedure = _learner(tried, dataset, task, own, trial)
        return own, procedure, next(data.train(0))

    warm = 1 + int(config.procedure.get("accumulate", 1))
    precision = partial(autocast, trainer.device, trainer.precision)  # type: ignore[arg-type]
    return batch_size.search(make, examples, trainer.device, precision, warm)


def _complete(config: DictConfig | ResolvedConfig, dataset: Dataset) -> None:
    """Write the sizes that were found into the configuration: the model's interpolations read them."""
    with open_dict(config) if isinstance(config, DictConfig) else contextlib.nullcontext():
        for name in ("shape", "classes", "outputs"):
            value = getattr(dataset, name)
            config.dataset[name] = list(value) if isinstance(value, tuple) else value
        if "symbols" in config.dataset:  # else its constructor would not know it again
            config.dataset["symbols"] = dataset.symbols


def _tune(config: DictConfig | ResolvedConfig, trainer: Trainer, model: nn.Module, examples: int) -> dict[str, Any]:
    """Choose threads and kernels by the size of a step, and say what was chosen."""
    batch = min(trainer.batch, examples) if isinstance(trainer.batch, int) else examples
    parameters = sum(p.numel() for p in model.parameters())
    # What has none, such as scikit-learn's, works on all examples at once.
    work = batch * parameters if parameters else examples * math.prod(config.dataset.shape)
    machine: dict[str, Any] = {"device": str(trainer.device), "precision": trainer.precision}
    if trainer.device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(trainer.device)
        machine["cudnn_benchmark"] = choose_cudnn_benchmark(model, trainer.device)
    machine["threads"] = choose_threads(trainer.threads, work)
    machine["channels_last"] = apply_channels_last(trainer.channels_last, model, trainer.device, trainer.precision)
    machine["matmul"] = choose_matmul_precision(trainer.matmul, model, batch, trainer.device)
    return machine


def describe(parts: Parts) -> dict[str, Any]:
    """What run.json says of the parts."""
    return {
        "seed": parts.config.seed,
        **parts.machine,
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        **parts.pretrained_init.to_dict(),
        **(parts.batch.about() if parts.batch else {}),
        **several(parts),
        "examples": {name: len(split) for name, split in parts.dataset.splits.items()},
    }


def several(parts: Parts) -> dict[str, Any]:
    """How many processes learn together, and from how many examples at a step; nothing for one by itself."""
    world, batch = current_group().world, parts.data.batch
    strategy, each = parts.trainer.strategy, parts.trainer.batch
    are_several = world > 1 or (strategy and isinstance(each, int) and batch != min(each, parts.data.examples))
    return {"processes": world, "global_batch": batch} if are_several else {}


def prepare(parts: Parts, most: int = 5000) -> None:
    """Show the training split's first examples to a model that sets weights by them (has prepare(x))."""
    # Pretrained weights come with the values that prepare(x) would set.
    if isinstance(parts.model, DataInitialized) and parts.pretrained_init.transfer is None:
        parts.model.prepare(take_inputs(parts.data.split("train"), most))


def load_trained(run: Run, config: DictConfig, which: Which | None = None) -> tuple[Parts, Which]:
    """Every part of a run with the weights of a checkpoint, ready to be looked at.

    Args:
        run: where it lies.
        config: its configuration, from `dlx.runs.trust.trusted`.
        which: the checkpoint; None takes the best one, or the last where no best one was chosen.

    Returns:
        The parts, the model in evaluation mode, and the name of the checkpoint.

    Raises:
        UsageError: its data or its checkpoint is not there or not good.
    """
    config = copied(config)
    config.trainer.compile = False  # it takes longer than looking
    if config.procedure.get("compile"):
        config.procedure.compile = None
    chosen: Which = which or ("best" if (run.checkpoints / "best.pt").is_file() else "last")
    parts = assemble(config)
    restore_weights(parts, run, chosen)
    return parts, chosen


def restore_weights(parts: Parts, run: Run, which: Which) -> None:
    """Give the model the weights of a checkpoint.

    Raises:
        UsageError: it is not there, is damaged, or is of another model.
    """
    path = run.checkpoints / f"{which}.pt"
    content = checkpoint.load(path, parts.trainer.device)
    try:
        parts.model.load_state_dict(content["model"])
    except (KeyError, RuntimeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise UsageError(
            f"{path} does not fit the model {type(parts.model).__name__} ({' '.join(lines[:3])[:300]}); needed: the "
            "weights of the model that config.yaml describes, by the dlx and the modules that it was trained with"
        ) from error
    parts.model.eval()


def load_model(run: Run, overrides: Sequence[str]) -> tuple[nn.Module, Dataset]:
    """Return the model and the dataset of a finished run, for a task that measures with them."""
    parts, _ = load_trained(run, trusted(run, overrides, LOOKING, "train"))
    return parts.model, parts.dataset
