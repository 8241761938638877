"""Build the parts that a configuration names, bind them to each other, and move them to their device."""

import contextlib
import copy
import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from omegaconf import DictConfig, open_dict
from torch import nn

from dlx.batch import Batch
from dlx.config.resolved import ResolvedConfig
from dlx.datasets.changes import note_changes
from dlx.datasets.dataset import Dataset
from dlx.datasets.fingerprint import fingerprint
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
from dlx.runs.rundir import Run
from dlx.runs.saved import INFERENCE_KEYS, copy_config
from dlx.runs.trust import load_trusted_config
from dlx.tasks.task import Task, accepts_lengths, draw_inputs
from dlx.terminal import terminal
from dlx.training import batch_size, checkpoint, length
from dlx.training.advice import INIT_EXAMPLES, refuse_contradictions
from dlx.training.batch_size import BatchSizeResult
from dlx.training.callbacks.callback import Callback, check_state
from dlx.training.scheduler import make_scheduler
from dlx.training.trainer import Trainer

CheckpointName = Literal["best", "last"]  # checkpoint


class Parts(NamedTuple):
    """Everything that a configuration names, built and on its device."""

    config: DictConfig | ResolvedConfig  # complete: what was null until the data was loaded is filled in
    dataset: Dataset
    task: Task
    model: nn.Module
    procedure: Procedure
    trainer: Trainer
    data: Loader
    pretrained_init: PretrainedInit  # weights from elsewhere, and what does not learn
    machine: dict[str, Any]  # device, threads, precision and product kernels, as chosen
    batch_search: BatchSizeResult | None = None  # where trainer.batch=auto asked for it


def assemble(
    config: DictConfig | ResolvedConfig,
    fresh: bool = False,
    loaded: Dataset | None = None,
    data: Loader | None = None,
    batch: int | Literal["full"] | None = None,
    dataset_state: Mapping[str, Any] | None = None,
    read: bool = True,
) -> Parts:
    """Build every part of a configuration, data loaded, model on its device.

    Args:
        config: composed and checked; it stays as it is.
        fresh: training starts: the model gets the weights of `pretrained`. Otherwise they come from a checkpoint.
        loaded: the dataset, where another run has loaded it already.
        data: its loader, likewise.
        batch: global batch size, over all processes; None takes `trainer.batch` per process.
        dataset_state: what a run fitted to its data, from its checkpoint; None fits to the data that is read.
        read: read the data at once; otherwise, with a state, where a split is first asked for.

    Raises:
        UsageError: the data is not there or not good, or a part refuses its values.
    """
    config = copy.deepcopy(config)  # ours to complete; the caller's stays as it was
    file = tensor_file.find_tensor_file(config.get("pretrained")) if fresh else None
    seed_everything(config.seed)
    trainer: Trainer = build(config, "trainer")
    if current_group().world_size > 1 and trainer.device.type == "cuda":
        torch.cuda.set_device(trainer.device)  # where NCCL works
    dataset: Dataset = loaded or build(config, "dataset")
    if loaded is None and dataset_state is not None:
        dataset.load_state_dict(dataset_state)
    if loaded is None and (read or dataset_state is None):
        current_group().local_main_first(dataset.load)
    _fill_in_sizes(config, dataset)
    task: Task = build(config, "task")
    task.load_model = load_model
    task.attach(dataset)
    seed_everything(config.seed)  # weights do not depend on how much randomness the data took
    model: nn.Module = build(config, "model").to(trainer.device)
    input_range.validate_inputs(dataset, model)
    pretrained_init = pretrained.load_and_freeze(model, config, file)
    if trainer.visuals and dataset.is_read:
        from dlx.interpretability.visuals import check_methods

        check_methods(model, dataset, trainer.visuals, trainer.device)
    found: BatchSizeResult | None = None
    if trainer.batch == "auto":
        found = current_group().broadcast_result(
            lambda: _search_batch_size(config, fresh, dataset, task, model, trainer)
        )
    if found is not None:
        trainer.batch = config.trainer.batch = found.size  # what is saved is a number
    machine = _tune(config, trainer, model, dataset.count_examples("train"))
    if current_group().world_size > 1 and trainer.sync_batch_norm:
        model = convert_batch_norm(model, trainer.device)
    if trainer.compile:
        model.compile()
    data, procedure = _make_learner(config, dataset, task, model, trainer, data, batch)
    if fresh:
        refuse_contradictions(config, trainer, model, data)
    return Parts(config, dataset, task, model, procedure, trainer, data, pretrained_init, machine, found)


def add_callbacks(parts: Parts) -> Parts:
    """Give the trainer the callbacks that the configuration adds; only training needs them. Returns the parts.

    Raises:
        UsageError: one is no callback, refuses its values, or has a state that no checkpoint keeps.
    """
    for name, node in (parts.config.get("callbacks") or {}).items():
        if node is None:  # switched off: callbacks.NAME=null
            continue
        callback = build(parts.config, f"callbacks.{name}")
        if not isinstance(callback, Callback):
            raise UsageError(
                f"callbacks.{name} ({node['_target_']}) is not a callback; needed: a class that derives from "
                "dlx.training.callbacks.callback.Callback"
            )
        check_state(f"callbacks.{name}", callback.state_dict())
        parts.trainer.callbacks[str(name)] = callback
    return parts


def _make_learner(
    config: DictConfig | ResolvedConfig,
    dataset: Dataset,
    task: Task,
    model: nn.Module,
    trainer: Trainer,
    data: Loader | None = None,
    batch: int | Literal["full"] | None = None,
) -> tuple[Loader, Procedure]:
    """Return the loader, and the procedure bound to the model."""
    assert trainer.batch != "auto"
    each = trainer.batch
    data = data or Loader(
        dataset,
        batch=batch or (each if each == "full" else each * current_group().world_size),
        device=trainer.device,
        seed=config.seed,
        memory=trainer.memory,
        workers=trainer.workers,
        trim=accepts_lengths(model),
    )
    followers = length.find_followers(config)
    procedure = _bind_procedure(config, followers, task, model, trainer, data, 0)
    if procedure.pretraining_epochs and followers and trainer.max_steps is not None:  # known only now
        procedure = _bind_procedure(config, followers, task, model, trainer, data, procedure.pretraining_epochs)
    data.shuffle = data.shuffle and procedure.shuffle
    return data, procedure


def _bind_procedure(
    config: DictConfig | ResolvedConfig,
    followers: Sequence[str],
    task: Task,
    model: nn.Module,
    trainer: Trainer,
    data: Loader,
    pretraining_epochs: int,
) -> Procedure:
    """Return the procedure, bound to the model, with a schedule as long as the training after the pretraining."""
    accumulate = int(config.procedure.get("accumulate") or (config.procedure.get("finish") or {}).get("accumulate", 1))
    planned = length.plan_length(trainer.epochs, trainer.max_steps, data.steps, accumulate, pretraining_epochs)
    length.set_followers(config, followers, planned.epochs)
    procedure: Procedure = build(
        config,
        "procedure",
        optimizer=build_optional(config, "optimizer"),
        scheduler=make_scheduler(config, planned, task, model),
        total=min(trainer.epochs * data.examples, (trainer.max_steps or sys.maxsize) * data.batch),  # to be seen
    )
    procedure.scaler = trainer.make_loss_scale()
    procedure.strategy = trainer.strategy
    procedure.bind(model, task)
    if not config.get("pretrained"):
        _refuse_untrained_head(procedure, config)
    return procedure


def _refuse_untrained_head(procedure: Procedure, config: DictConfig | ResolvedConfig) -> None:
    """Refuse to measure classes by a head that stays as it was drawn."""
    if procedure.task.needs != "classes" or not any(n.startswith("head.") for n in procedure.list_untrained()):
        return
    has_label_units = "labelled" in config.model
    raise UsageError(
        f"procedure {type(procedure).__name__} was given with task {type(procedure.task).__name__}; it leaves the "
        f"model's head, which names the class, as it was drawn; needed: a procedure that trains it; type "
        f"procedure=fine_tune{', or model.labelled=true' if has_label_units else ''}, or task=density"
    )


def _search_batch_size(
    config: DictConfig | ResolvedConfig, fresh: bool, dataset: Dataset, task: Task, model: nn.Module, trainer: Trainer
) -> BatchSizeResult:
    """Search the batch size for `trainer.batch=auto`, on copies: what trains afterwards is untouched.

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
        data, procedure = _make_learner(tried, dataset, task, own, trial)
        return own, procedure, next(data.train(0))

    warm = 1 + int(config.procedure.get("accumulate", 1))
    precision = partial(autocast, trainer.device, trainer.precision)  # type: ignore[arg-type]
    return batch_size.find_batch_size(make, examples, trainer.device, precision, warm)


def _fill_in_sizes(config: DictConfig | ResolvedConfig, dataset: Dataset) -> None:
    """Write the sizes of the loaded data into the configuration: the model's interpolations read them."""
    with open_dict(config) if isinstance(config, DictConfig) else contextlib.nullcontext():
        for name in ("shape", "classes", "outputs"):
            value = getattr(dataset, name)
            config.dataset[name] = list(value) if isinstance(value, tuple) else value
        if "symbols" in config.dataset:  # otherwise its constructor does not take it
            config.dataset["symbols"] = dataset.symbols


def _tune(config: DictConfig | ResolvedConfig, trainer: Trainer, model: nn.Module, examples: int) -> dict[str, Any]:
    """Choose threads and kernels by the size of a step, and return what was chosen."""
    batch = min(trainer.batch, examples) if isinstance(trainer.batch, int) else examples
    parameters = sum(p.numel() for p in model.parameters())
    # Models without parameters, such as scikit-learn's, work on all examples at once.
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
    """Return run.json's entries about the parts."""
    return {
        "seed": parts.config.seed,
        "logger": list(parts.config.get("logger") or {}),
        **parts.machine,
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        **parts.pretrained_init.to_dict(),
        **(parts.batch_search.run_metadata() if parts.batch_search else {}),
        **distributed_info(parts),
        "data": fingerprint(parts.dataset),
        **({"callbacks": ",".join(parts.trainer.callbacks)} if parts.trainer.callbacks else {}),
        **({"batch_size": parts.data.batch} if isinstance(parts.data.batch, int) else {}),
        "examples": {name: len(split) for name, split in parts.dataset.splits.items()},
        **({"notes": list(parts.dataset.notes)} if parts.dataset.notes else {}),
    }


def distributed_info(parts: Parts) -> dict[str, Any]:
    """Return the number of processes and the global batch size for run.json; nothing for a single process."""
    world, batch = current_group().world_size, parts.data.batch
    strategy, each = parts.trainer.strategy, parts.trainer.batch
    are_several = world > 1 or (strategy and isinstance(each, int) and batch != min(each, parts.data.examples))
    return {"processes": world, "global_batch": batch} if are_several else {}


def init_from_data(parts: Parts, most: int = INIT_EXAMPLES) -> None:
    """Pass the training split, or `most` random examples of it, to a model that sets weights by it (prepare(x))."""
    # Transferred weights come with the values that prepare(x) would set.
    if isinstance(parts.model, DataInitialized) and parts.pretrained_init.transfer is None:
        parts.model.prepare(draw_inputs(parts.data.split("train"), most, parts.config.seed))


def load_trained(run: Run, config: DictConfig, which: CheckpointName | None = None) -> tuple[Parts, CheckpointName]:
    """Build every part of a run, with the weights of a checkpoint.

    Args:
        run: its run directory.
        config: its configuration, from `dlx.runs.trust.load_trusted_config`.
        which: the checkpoint; None takes the best, or the last if there is no best.

    Returns:
        The parts, the model in evaluation mode, and the name of the checkpoint.

    Raises:
        UsageError: its data or its checkpoint is missing or invalid.
    """
    config = copy_config(config)
    config.trainer.compile = False  # compiling takes longer than it saves
    if config.procedure.get("compile"):
        config.procedure.compile = None
    checkpoint_name: CheckpointName = which or ("best" if (run.checkpoints / "best.pt").is_file() else "last")
    path = run.checkpoints / f"{checkpoint_name}.pt"
    content = checkpoint.load(path)
    state = content.get("dataset")
    parts = assemble(config, dataset_state=state, read=False)
    if state is None:
        terminal.print_note(
            f"scaling, names and columns were fitted anew from {parts.dataset.source}: {run.directory} was saved "
            "without them, by an earlier dlx or with a dataset of its own"
        )
    if parts.dataset.is_read:
        note_changes(run, parts.dataset)
    else:
        parts.dataset.before_read(lambda: note_changes(run, parts.dataset))
    restore_weights(parts, path, content)
    return parts, checkpoint_name


def restore_weights(parts: Parts, path: Path, content: Mapping[str, Any]) -> None:
    """Load the weights of a checkpoint into the model, and put it in evaluation mode.

    Args:
        parts: built for it.
        path: the checkpoint's, for messages.
        content: of the checkpoint.

    Raises:
        UsageError: it is another model's.
    """
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
    parts, _ = load_trained(run, load_trusted_config(run, overrides, INFERENCE_KEYS, "train"))
    return parts.model, parts.dataset
