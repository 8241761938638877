"""The whole program: build the parts, fit, and record the outcome in run.json."""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlx.config.resolved import ResolvedConfig
from dlx.config.resolved import to_yaml as resolved_to_yaml
from dlx.datasets.changes import check_data
from dlx.datasets.fingerprint import fingerprint
from dlx.datasets.state import get_dataset_state
from dlx.distributed.group import current_group
from dlx.distributed.join import broadcast_job
from dlx.errors import DlxError, Interrupted
from dlx.hardware.out_of_memory import explain_oom
from dlx.hardware.random_state import get_random_state, set_random_state
from dlx.loggers.choice import make_loggers
from dlx.loggers.logger import Logger
from dlx.loggers.run_logger import RunLogger
from dlx.metrics import Metric, list_declared, list_own_directions
from dlx.parts import Parts, add_callbacks, assemble, describe, distributed_info, init_from_data
from dlx.records.published import compare, format_comparison
from dlx.runs.atomic import remove_asides, write_atomically
from dlx.runs.lock import lock_run
from dlx.runs.outcome import record_end, reserve_space
from dlx.runs.rundir import NullRun, Run, now
from dlx.tasks.task import take_inputs
from dlx.terminal.progress import Progress
from dlx.terminal.terminal import print_note
from dlx.training.advice import list_remarks
from dlx.training.callbacks.callback import Callback
from dlx.training.checkpoint import Checkpoints, is_resumable, load, load_dataset_state
from dlx.training.trainer import Trainer


def train(config: DictConfig, progress: Progress | None = None) -> dict[str, float]:
    """Train what a configuration describes, in Hydra's run directory, and return the final metrics."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    metrics: dict[str, float] = train_in(Path(hydra.runtime.output_dir), config, describe_job(hydra), progress).read()[
        "metrics"
    ]
    return metrics


def train_in(
    directory: Path,
    config: DictConfig,
    about: dict[str, Any],
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train what a configuration describes, in `directory`. Bad data or values leave no directory behind.

    Args:
        directory: created for this run.
        config: composed and checked.
        about: entries for `run.json` besides what is measured: the overrides, and the choice of each group.
        progress: what is printed; None prints everything.
        callbacks: further ones, which the configuration does not name.
    """
    group = broadcast_job("train", config)
    parts = group.run_on_all_ranks(lambda: add_callbacks(assemble(config, fresh=True)))
    loggers = group.run_on_all_ranks(lambda: {} if group.rank else make_loggers(parts.config))
    with mark_interrupted(directory):
        run = group.run_on_all_ranks(lambda: NullRun() if group.rank else create_run(directory, parts, about))
        with hold(run):
            _fit(run, parts, loggers, progress=progress, callbacks=callbacks)
    return run


def hold(run: Run) -> contextlib.AbstractContextManager[None]:
    """Hold a run's directory, so that no other process trains in it; a rank other than 0 holds nothing."""
    return contextlib.nullcontext() if isinstance(run, NullRun) else lock_run(run.directory)


@contextlib.contextmanager
def mark_interrupted(directory: Path) -> Iterator[None]:
    """Mark a run of this process as interrupted, even before `record_outcome` watches over it."""
    try:
        yield
    except KeyboardInterrupt:
        run, mine = Run(directory), {"status": "running", "host": platform.node(), "pid": os.getpid()}
        if run.file.is_file() and mine.items() <= run.read().items():
            run.update(status="interrupted", ended=now())
        raise


def create_run(directory: Path, parts: Parts, about: dict[str, Any]) -> Run:
    """Create the run directory of a training that is about to begin; see `train_in`."""
    declared_metrics(parts)  # a metric without a direction is refused before anything is written
    notes = _list_notes(parts, about)
    noted = {"notes": notes} if notes else {}
    return Run.create(directory, {**about, **describe(parts), **noted, "metrics": {}}, to_yaml(parts.config))


def resume(
    run: Run,
    config: DictConfig,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    accept_changed_data: bool = False,
) -> Run:
    """Continue in the same run directory, held against other processes; see `_resume`."""
    with hold(run):
        remove_asides(run.directory)
        return _resume(run, config, progress, callbacks, accept_changed_data)


def _resume(
    run: Run,
    config: DictConfig,
    progress: Progress | None,
    callbacks: Sequence[Callback],
    accept_changed_data: bool,
) -> Run:
    """Continue in the same run directory from its newest intact checkpoint, or from the start if none was saved yet.

    Args:
        run: its run directory.
        config: its configuration.
        progress: what is printed; None prints everything.
        callbacks: besides those of the configuration.
        accept_changed_data: go on with data that is not what the run began with.

    Raises:
        UsageError: the data has changed, or the checkpoint or the data is invalid.
    """
    changes = check_data(run, config, accept_changed_data)
    group = broadcast_job("resume", config)
    batch = group.broadcast(run.read().get("global_batch", config.trainer.batch))  # of however many processes it was
    saved = group.broadcast(is_resumable(run.checkpoints))
    state = group.broadcast(load_dataset_state(run.checkpoints) if saved else None)
    parts = group.run_on_all_ranks(
        lambda: add_callbacks(assemble(config, fresh=not saved, batch=batch, dataset_state=state))
    )
    loggers = group.run_on_all_ranks(lambda: {} if group.rank else make_loggers(parts.config))
    note: str | None = "no checkpoint had been saved; starting from the beginning"
    if any(run.checkpoints.glob("*.pt")) and not saved:
        note = "best.pt is there without last.pt, as saving was cut short; starting from the beginning"
    if saved:
        where = parts.trainer.device if group.world_size == 1 else "cpu"
        content, note = group.broadcast_result(lambda: Checkpoints(run.checkpoints).load_latest(where))
        parts.trainer.restore(group.select_rank_state(content, config.seed), parts.model, parts.procedure)
    accepted = {"changed_data": changes} if changes else {}
    resumed = [*run.read().get("resumed", []), {"time": now(), "step": parts.trainer.step, **accepted}]
    group.run_on_all_ranks(lambda: declared_metrics(parts))
    with mark_interrupted(run.directory):  # dlx runs asks whether the process lives
        run.update(status="running", host=platform.node(), pid=os.getpid(), resumed=resumed)
        if group.rank == 0:
            run.update(**distributed_info(parts), data=fingerprint(parts.dataset))
            if saved and state is None:
                print_note(
                    f"scaling, names and columns were fitted anew from {parts.dataset.source}: {run.directory} was "
                    "saved without them"
                )
            _save_config(run, parts)
            for file in () if saved else [*run.directory.glob("events.out.tfevents.*"), *run.checkpoints.glob("*.pt")]:
                file.unlink()  # from the beginning: what was logged before is logged again
        _fit(run, parts, loggers, resumed=saved, note=note, progress=progress, callbacks=callbacks)
    return run


def declared_metrics(parts: Parts) -> tuple[Metric, ...]:
    """Return what task, model and procedure declare that they emit.

    Raises:
        UsageError: a declaration is invalid, or the task monitors what is declared nowhere.
    """
    task, procedure = parts.task.list_metrics(), parts.procedure.list_metrics()
    return (*task, *list_declared(type(parts.model)), *procedure)


def _save_config(run: Run, parts: Parts) -> None:
    write_atomically(run.directory / "config.yaml", to_yaml(parts.config))


def describe_job(hydra: Any) -> dict[str, Any]:
    """Return run.json's entries for a job of Hydra's: its overrides, and the choice of each group."""
    choices = hydra.runtime.choices.items()
    named = {group: name for group, name in choices if not group.startswith("hydra") and name is not None}
    return {"overrides": list(hydra.overrides.task), **named}


def _fit(
    run: Run,
    parts: Parts,
    loggers: Mapping[str, Logger],
    resumed: bool = False,
    note: str | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Fit, measure the test split once, and record the outcome whatever happens."""
    trainer, started = parts.trainer, time.monotonic()
    group = current_group()
    trainer.built_in += tuple(callbacks)
    progress = progress or Progress(quiet=group.rank > 0)
    directory = None if group.rank else run.directory
    about = run.read()
    extra = parts.procedure.pretraining_epochs
    steps = min((trainer.epochs + extra) * parts.data.steps, trainer.max_steps or sys.maxsize) - trainer.step
    hint = note or parts.procedure.performance_hint(steps)
    of_run = (f"note: {text}" for text in (parts.dataset.notes if resumed else about.get("notes", [])))
    notes = filter(None, (str(parts.pretrained_init), str(parts.batch_search or ""), hint, *of_run))
    progress.show_plan(about, parts.config, parts.data.steps, note="\n".join(notes) or None, pretraining_epochs=extra)
    checkpoints = Checkpoints(None if directory is None else run.checkpoints, get_dataset_state(parts.dataset))
    logger = make_run_logger(run, parts, loggers, resumed, report=progress.print_line)
    with reserve_space(run.directory), record_outcome(run, trainer, started), group.explain_lost_rank(), explain_oom():
        try:
            logger.hparams(to_dict(parts.config))
            if not resumed:
                init_from_data(parts)
                with group.full_parameters(parts.model):
                    log_config_and_graph(parts, logger, about.get("notes", []))
            if not trainer.step:
                group.sync_parameters(parts.model, parts.config.seed)
            trainer.fit(parts.model, parts.task, parts.procedure, parts.data, logger, checkpoints, progress)
            metrics = finish(run, parts, logger)
        except BaseException:
            group.disable_collectives()
            raise
        finally:
            logger.close()
    has_events = any(run.directory.glob("events.out.tfevents.*"))
    seconds, declared = time.monotonic() - started, declared_metrics(parts)
    beside = [format_comparison(one) for one in run.read().get("published", [])]
    progress.show_summary(
        metrics, run.directory, seconds, parts.procedure.done, trainer.to_resume, has_events, declared, beside
    )


def _list_notes(parts: Parts, about: dict[str, Any]) -> list[str]:
    """Return what was dropped, cast or guessed in the data, what has no effect, and which numbers will say little."""
    typed = [str(word) for word in about.get("overrides", [])]
    remarks = list_remarks(typed, parts.trainer, parts.task, parts.model, parts.procedure, parts.data)
    return [*parts.dataset.notes, *remarks]


def make_run_logger(
    run: Run, parts: Parts, loggers: Mapping[str, Logger], resumed: bool, report: Callable[[str], None]
) -> RunLogger:
    """Make the logger of a run, which hands what it gathers to all `loggers`.

    Args:
        run: what fails is noted in its run.json.
        parts: of the run; the trainer says how often is written.
        loggers: by name, not opened yet.
        resumed: the curves go on at the trainer's step.
        report: prints what fails.
    """

    def report_failure(line: str) -> None:
        report(line)
        with contextlib.suppress(OSError):  # a full disk: the training itself will say so
            run.update(notes=[*run.read().get("notes", []), line])

    trainer = parts.trainer
    return RunLogger(
        None if current_group().rank else run.directory,
        trainer.step if resumed else None,
        loggers,
        every=trainer.flush_every,
        keep=trainer.log_every,
        pictures=trainer.pictures,
        report=report_failure,
    )


def log_config_and_graph(parts: Parts, logger: RunLogger, notes: Sequence[str]) -> None:
    """Log what is known before the first step besides the row of HParams: configuration, graph and notes."""
    logger.config(to_yaml(parts.config))
    if notes:
        logger.text("notes", "\n".join(f"- {text}" for text in notes))
    if logger.is_enabled("graph"):
        state = get_random_state()  # drawing the graph must not change what a model that samples learns
        parts.model.eval()
        logger.graph(parts.model, take_inputs(parts.data.split("train"), 1))
        set_random_state(state)


def to_yaml(config: DictConfig | ResolvedConfig) -> str:
    """Format a configuration as YAML, its interpolations resolved."""
    return (
        resolved_to_yaml(config.to_dict())
        if isinstance(config, ResolvedConfig)
        else OmegaConf.to_yaml(config, resolve=True)
    )


def to_dict(config: DictConfig | ResolvedConfig) -> dict[str, Any]:
    """Return a configuration as nested dictionaries, its interpolations resolved."""
    if isinstance(config, ResolvedConfig):
        return config.to_dict()
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def finish(run: Run, parts: Parts, logger: RunLogger) -> dict[str, float]:
    """Measure the test split with the best model, and return all final metrics, the last train and val ones too."""
    trainer, group = parts.trainer, current_group()
    metrics = dict(trainer.latest)
    best = run.checkpoints / "best.pt"
    if trainer.best_checkpoint.best is not None and group.broadcast(best.exists()):
        where = trainer.device if group.world_size == 1 else "cpu"
        group.load(parts.model, group.broadcast_result(lambda: load(best, where)["model"]))
        metrics[f"val/best_{parts.task.monitor}"] = trainer.best_checkpoint.best
    if trainer.test and parts.data.has_split("test"):
        tested = trainer.evaluate("test")
        logger.scalars("test", tested, trainer.step)
        metrics.update({f"test/{name}": value for name, value in tested.items()})
    own = list_own_directions(metrics, declared_metrics(parts))
    run.update(
        metrics=metrics, **({"directions": own} if own else {})
    )  # before anything is drawn: a picture that fails costs no number
    _compare_with_published(run, parts.config, metrics)
    logger.hparams(to_dict(parts.config), metrics)
    with group.full_parameters(parts.model):
        trainer.log_pictures()
    return metrics


def _compare_with_published(run: Run, config: DictConfig | ResolvedConfig, metrics: dict[str, float]) -> None:
    """Record in run.json what the run's experiment is to be compared with, where it was run as its file says."""
    about = run.read()
    beside = compare(about.get("experiment"), to_dict(config), metrics, run.directory)
    if beside or about.get("published"):
        run.update(published=beside)


@contextlib.contextmanager
def record_outcome(run: Run, trainer: Trainer, started: float) -> Iterator[None]:
    """Record in run.json how the run ended: its status, times, epoch and step, and the error if there was one."""
    status, error = "failed", None
    try:
        yield
        status = trainer.stop_status
    except (Interrupted, KeyboardInterrupt) as stop:
        status, error = "interrupted", str(stop)
        raise
    except BaseException as problem:
        error = str(problem) if isinstance(problem, DlxError) else f"{type(problem).__name__}: {problem}"
        raise
    finally:
        ended = {"status": status, "ended": now(), **trainer.run_metadata()}
        ended |= {"epoch": trainer.epoch, "step": trainer.step} | ({"error": error} if error else {})
        record_end(run, ended, time.monotonic() - started, trainer.stop_reason)
