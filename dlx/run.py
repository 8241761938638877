"""The whole program: build the parts, then train, resume or evaluate."""

import contextlib
import copy
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from dlx import batch_size, runtime
from dlx.batch import Batch
from dlx.batch_size import Found
from dlx.build import build, optional, scheduler
from dlx.checkpoint import Checkpoints, load
from dlx.config.plain import Plain, text
from dlx.datasets.dataset import Dataset
from dlx.datasets.loader import Loader
from dlx.distribution.batch_norm import synchronise
from dlx.distribution.follow import Unwritten, lead
from dlx.distribution.group import here
from dlx.errors import DlxError, Interrupted, UsageError
from dlx.logs.logger import Logger
from dlx.logs.progress import Progress
from dlx.memory import explained
from dlx.models import pretrained, tensor_file
from dlx.models.pretrained import Beginning
from dlx.procedures.procedure import Procedure
from dlx.runs.rundir import Run, now
from dlx.tasks.task import Task, first, reads_lengths
from dlx.trainer import Trainer, Watch


class Parts(NamedTuple):
    """Everything that a configuration names, built and put on its device."""

    config: DictConfig | Plain  # complete: what was null until the data was loaded is filled in
    dataset: Dataset
    task: Task
    model: nn.Module
    procedure: Procedure
    trainer: Trainer
    data: Loader
    beginning: Beginning  # weights from elsewhere, and what does not learn
    machine: dict[str, Any]  # device, threads, precision and product kernels, as chosen
    batch: Found | None = None  # where trainer.batch=auto asked for it


def train(config: DictConfig, progress: Progress | None = None) -> dict[str, float]:
    """Train what a configuration describes, in Hydra's run directory. Returns the final metrics."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    return train_in(Path(hydra.runtime.output_dir), config, composed(hydra), progress).read()["metrics"]


def train_in(
    directory: Path,
    config: DictConfig,
    about: dict[str, Any],
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train what a configuration describes, in `directory`. Bad data or values leave no directory behind.

    Args:
        directory: made for this run alone.
        config: composed and checked.
        about: what `run.json` says beside what is measured: the overrides, and the names of the groups chosen.
        progress: what the user is told; None for the whole.
        watch: looks at each validation, and may end the training.
    """
    group = lead("train", config)
    parts = group.together(lambda: assemble(config, fresh=True))
    run = group.together(lambda: Unwritten() if group.rank else created(directory, parts, about))
    _learn(run, parts, progress=progress, watch=watch)
    return run


def created(directory: Path, parts: Parts, about: dict[str, Any]) -> Run:
    """The run directory of a training that is about to begin; see `train_in`."""
    run = Run.create(directory, {**about, **describe(parts), "metrics": {}})
    _keep(run, parts)
    return run


def resume(run: Run, config: DictConfig, progress: Progress | None = None, watch: Watch | None = None) -> Run:
    """Go on in the same run directory, from its newest whole checkpoint; from the beginning if none was saved yet."""
    group = lead("resume", config)
    batch = group.first(run.read().get("global_batch", config.trainer.batch))  # of however many processes it was
    saved = group.first(any(run.checkpoints.glob("*.pt")))
    parts = group.together(lambda: assemble(config, fresh=not saved, batch=batch))
    note: str | None = "no checkpoint had been saved: beginning anew"
    if saved:
        where = parts.trainer.device if group.world == 1 else "cpu"
        content, note = group.of_first(lambda: Checkpoints(run.checkpoints).resume(where))
        parts.trainer.restore(group.own(content, config.seed), parts.model, parts.procedure)
    resumed = [*run.read().get("resumed", []), {"time": now(), "step": parts.trainer.step}]
    run.update(status="running", host=platform.node(), pid=os.getpid(), resumed=resumed)  # dlx runs asks if it lives
    if group.rank == 0:
        run.update(**_several(parts))
        _keep(run, parts)
    _learn(run, parts, resumed=True, note=note, progress=progress, watch=watch)
    return run


def _keep(run: Run, parts: Parts) -> None:
    (run.directory / "config.yaml").write_text(written(parts.config), encoding="utf-8")


def assemble(
    config: DictConfig | Plain,
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
    file = tensor_file.find(config.get("pretrained")) if fresh else None
    runtime.seed(config.seed)
    trainer: Trainer = build(config, "trainer")
    if here().world > 1 and trainer.device.type == "cuda":
        torch.cuda.set_device(trainer.device)  # where NCCL works
    dataset: Dataset = loaded or build(config, "dataset")
    if loaded is None:
        here().in_turn(dataset.load)
    _complete(config, dataset)
    task: Task = build(config, "task")
    task.attach(dataset)
    runtime.seed(config.seed)  # weights do not depend on how much randomness the data took
    model: nn.Module = build(config, "model").to(trainer.device)
    beginning = pretrained.begin(model, config, file)
    if trainer.visuals:
        from dlx.seeing.visuals import suits

        suits(model, dataset, trainer.visuals, trainer.device)
    found: Found | None = None
    if trainer.batch == "auto":
        found = here().of_first(lambda: _search(config, fresh, dataset, task, model, trainer))
    if found is not None:
        trainer.batch = config.trainer.batch = found.size  # what is saved is a number
    machine = _tune(config, trainer, model, len(dataset.splits["train"]))
    if here().world > 1 and trainer.sync_batch_norm:
        model = synchronise(model, trainer.device)
    if trainer.compile:
        model.compile()
    data, procedure = _learner(config, dataset, task, model, trainer, data, batch)
    return Parts(config, dataset, task, model, procedure, trainer, data, beginning, machine, found)


def _learner(
    config: DictConfig | Plain,
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
        batch=batch or (each if each == "full" else each * here().world),
        device=trainer.device,
        seed=config.seed,
        memory=trainer.memory,
        workers=trainer.workers,
        trim=reads_lengths(model),
    )
    updates = -(-data.steps // int(config.procedure.get("accumulate", 1)))
    procedure: Procedure = build(
        config,
        "procedure",
        optimizer=optional(config, "optimizer"),
        scheduler=scheduler(config, updates),
        total=trainer.epochs * data.examples,  # that the whole training sees: what anneals goes by it
    )
    data.shuffle = data.shuffle and procedure.shuffle
    procedure.scaler = trainer.loss_scale()
    procedure.strategy = trainer.strategy
    procedure.bind(model, task)
    return data, procedure


def _search(
    config: DictConfig | Plain, fresh: bool, dataset: Dataset, task: Task, model: nn.Module, trainer: Trainer
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
    precision = partial(runtime.autocast, trainer.device, trainer.precision)  # type: ignore[arg-type]
    return batch_size.search(make, examples, trainer.device, precision, warm)


def _complete(config: DictConfig | Plain, dataset: Dataset) -> None:
    """Write the sizes that were found into the configuration: the model's interpolations read them."""
    with open_dict(config) if isinstance(config, DictConfig) else contextlib.nullcontext():
        for name in ("shape", "classes", "outputs"):
            value = getattr(dataset, name)
            config.dataset[name] = list(value) if isinstance(value, tuple) else value
        if "symbols" in config.dataset:  # else its constructor would not know it again
            config.dataset["symbols"] = dataset.symbols


def _tune(config: DictConfig | Plain, trainer: Trainer, model: nn.Module, examples: int) -> dict[str, Any]:
    """Choose threads and kernels by the size of a step, and say what was chosen."""
    batch = min(trainer.batch, examples) if isinstance(trainer.batch, int) else examples
    parameters = sum(p.numel() for p in model.parameters())
    # What has none, such as scikit-learn's, works on all examples at once.
    work = batch * parameters if parameters else examples * math.prod(config.dataset.shape)
    machine: dict[str, Any] = {"device": str(trainer.device), "precision": trainer.precision}
    if trainer.device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(trainer.device)
        machine["cudnn_benchmark"] = runtime.benchmark(model, trainer.device)
    machine["threads"] = runtime.threads(trainer.threads, work)
    machine["channels_last"] = runtime.channels_last(trainer.channels_last, model, trainer.device, trainer.precision)
    machine["matmul"] = runtime.matmul(trainer.matmul, model, batch, trainer.device)
    return machine


def describe(parts: Parts) -> dict[str, Any]:
    """What run.json says of the parts."""
    return {
        "seed": parts.config.seed,
        **parts.machine,
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        **parts.beginning.about(),
        **(parts.batch.about() if parts.batch else {}),
        **_several(parts),
        "examples": {name: len(split) for name, split in parts.dataset.splits.items()},
    }


def _several(parts: Parts) -> dict[str, Any]:
    """How many processes learn together, and from how many examples at a step; nothing for one by itself."""
    world, batch = here().world, parts.data.batch
    strategy, each = parts.trainer.strategy, parts.trainer.batch
    several = world > 1 or (strategy and isinstance(each, int) and batch != min(each, parts.data.examples))
    return {"processes": world, "global_batch": batch} if several else {}


def composed(hydra: Any) -> dict[str, Any]:
    """What run.json says of a job of Hydra's: its overrides, and the names of the groups chosen."""
    choices = hydra.runtime.choices.items()
    named = {group: name for group, name in choices if not group.startswith("hydra") and name is not None}
    return {"overrides": list(hydra.overrides.task), **named}


def _learn(
    run: Run,
    parts: Parts,
    resumed: bool = False,
    note: str | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> None:
    """Fit, measure the test split once, and close the run's books whatever happens."""
    trainer, started = parts.trainer, time.monotonic()
    group = here()
    trainer.watch = watch
    progress = progress or Progress(quiet=group.rank > 0)
    directory = None if group.rank else run.directory
    logger = trainer.make_logger(directory, resume_step=trainer.step if resumed else None)
    about = run.read()
    extra = parts.procedure.extra
    steps = min((trainer.epochs + extra) * parts.data.steps, trainer.max_steps or sys.maxsize) - trainer.step
    notes = filter(None, (str(parts.beginning), str(parts.batch or ""), note or parts.procedure.advice(steps)))
    progress.plan(about, parts.config, parts.data.steps, note="\n".join(notes) or None, extra=extra)
    checkpoints = Checkpoints(None if directory is None else run.checkpoints)
    with books(run, trainer, started), group.watched(), explained():
        try:
            logger.hparams(plain(parts.config))
            if not resumed:
                prepare(parts)
                with group.whole(parts.model):
                    introduce(parts, logger)
            if not trainer.step:
                group.begin(parts.model, parts.config.seed)
            trainer.fit(parts.model, parts.task, parts.procedure, parts.data, logger, checkpoints, progress)
            metrics = finish(run, parts, logger)
        except BaseException:
            group.part_ways()
            raise
        finally:
            logger.close()
    progress.summary(metrics, run.directory, time.monotonic() - started, parts.procedure.done)


def prepare(parts: Parts, most: int = 5000) -> None:
    """Show the training split's first examples to a model that sets weights by them (has prepare(x))."""
    wanted = getattr(parts.model, "prepare", None)
    if callable(wanted) and parts.beginning.transfer is None:  # else they are those that the other weights go with
        wanted(first(parts.data.split("train"), most))


def introduce(parts: Parts, logger: Logger) -> None:
    """What TensorBoard shows before the first step beside the HParams row: the configuration and the graph."""
    logger.config(written(parts.config))
    if logger.draws("graph"):
        state = runtime.random_state()  # a model that draws must not learn otherwise for having been drawn
        parts.model.eval()
        logger.graph(parts.model, first(parts.data.split("train"), 1))
        runtime.set_random_state(state)


def written(config: DictConfig | Plain) -> str:
    """A configuration as YAML, its interpolations resolved."""
    return text(config.plain()) if isinstance(config, Plain) else OmegaConf.to_yaml(config, resolve=True)


def plain(config: DictConfig | Plain) -> dict[str, Any]:
    """A configuration as a dictionary, its interpolations resolved."""
    if isinstance(config, Plain):
        return config.plain()
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def finish(run: Run, parts: Parts, logger: Logger) -> dict[str, float]:
    """The final numbers: last training and validation values, and the test split measured with the best model."""
    trainer, group = parts.trainer, here()
    metrics = dict(trainer.latest)
    best = run.checkpoints / "best.pt"
    if trainer.best is not None and group.first(best.exists()):
        where = trainer.device if group.world == 1 else "cpu"
        group.load(parts.model, group.of_first(lambda: load(best, where)["model"]))
        metrics[f"val/best_{parts.task.monitor}"] = trainer.best
    if trainer.test and parts.data.has("test"):
        tested = trainer.evaluate("test")
        logger.scalars("test", tested, trainer.step)
        metrics.update({f"test/{name}": value for name, value in tested.items()})
    run.update(metrics=metrics)  # before anything is drawn: a picture that fails costs no number
    logger.hparams(plain(parts.config), metrics)
    with group.whole(parts.model):
        trainer.pictures()
    return metrics


@contextlib.contextmanager
def books(run: Run, trainer: Trainer, started: float) -> Iterator[None]:
    """run.json tells how the run ended, also when it ended badly."""
    status, error = "failed", None
    try:
        yield
        status = "pruned" if trainer.pruned else "finished"
    except (Interrupted, KeyboardInterrupt) as stop:
        status, error = "interrupted", str(stop)
        raise
    except BaseException as problem:
        error = str(problem) if isinstance(problem, DlxError) else f"{type(problem).__name__}: {problem}"
        raise
    finally:
        seconds = run.read().get("seconds", 0.0) + time.monotonic() - started  # of all its stretches
        ended = {"status": status, "ended": now(), "seconds": round(seconds, 3)}
        ended |= (
            trainer.remarks() | {"epoch": trainer.epoch, "step": trainer.step} | ({"error": error} if error else {})
        )
        with contextlib.suppress(OSError):  # a full disk: the error under way says so
            run.update(**ended)
