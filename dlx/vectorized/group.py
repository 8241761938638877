"""Train a group of jobs as stacks, from their configurations to their results."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from torch import nn

from dlx.config.resolved import ResolvedConfig
from dlx.datasets.dataset import Dataset
from dlx.datasets.loader import Loader
from dlx.errors import Interrupted
from dlx.hardware.device import choose_threads
from dlx.hardware.random_state import get_random_state
from dlx.job import Job, JobAborted, compute_objective
from dlx.parts import Parts, assemble, describe, init_from_data
from dlx.procedures.backprop import Backprop
from dlx.procedures.contrastive_divergence import ContrastiveDivergence
from dlx.procedures.procedure import Procedure
from dlx.run import to_dict
from dlx.runs.rundir import relative_to_cwd
from dlx.terminal.progress import Progress
from dlx.training import length
from dlx.vectorized.engine import Engine
from dlx.vectorized.groups import has_declared_sizes, make_data_key
from dlx.vectorized.jobs import PlannedJob, use_hydra_config
from dlx.vectorized.not_vectorizable import NotVectorizable
from dlx.vectorized.stacked_backprop import StackedBackprop
from dlx.vectorized.stacked_contrastive_divergence import StackedContrastiveDivergence
from dlx.vectorized.stacked_loader import StackedLoader
from dlx.vectorized.stacked_trainer import StackedTrainer
from dlx.vectorized.trial import Trial

ENGINES: dict[type[Procedure], Callable[[Sequence[Trial], bool | Literal["auto"]], Engine]] = {
    Backprop: StackedBackprop,
    ContrastiveDivergence: StackedContrastiveDivergence,
}


class JobGroup:
    """Jobs whose configurations may be one stack.

    Args:
        jobs: the jobs, alike but for seeds and numbers.
        task: the function that Hydra would call for each.
        context: Hydra's.
        most: how many trials one stack may have.
        compile: see the launcher.
    """

    def __init__(
        self,
        jobs: Sequence[PlannedJob],
        task: Job,
        context: HydraContext,
        most: int,
        compile: bool | Literal["auto"],
    ) -> None:
        self.jobs, self.task, self.context = list(jobs), task, context
        self.most, self.compile = most, compile
        self.has_callbacks = bool(context.callbacks.callbacks)
        self.returns: dict[int, JobReturn] = {}
        self.not_stacked: dict[int, str] = {}  # jobs that were not run, and why
        self.loaded: dict[str, tuple[Dataset, Loader]] = {}

    def run(self) -> "JobGroup":
        """Train the jobs; afterwards each is in `returns` or in `not_stacked`.

        Raises:
            JobAborted: SIGINT or SIGTERM came.
        """
        for start in range(0, len(self.jobs), self.most):
            trials = self._assemble(self.jobs[start : start + self.most])
            stacks: dict[Any, list[tuple[PlannedJob, Trial]]] = {}
            for job, trial in trials:
                stacks.setdefault(_get_structure(trial.parts.model), []).append((job, trial))
            for stack in stacks.values():
                jobs = [job for job, _ in stack]
                try:
                    if len(stack) == 1:
                        raise NotVectorizable("no other job has a model of its kind")
                    self._train_stack(jobs, [trial for _, trial in stack])
                except NotVectorizable as why:
                    self.not_stacked.update({job.number: str(why) for job in jobs})
        return self

    def _assemble(self, jobs: Sequence[PlannedJob]) -> list[tuple[PlannedJob, Trial]]:
        """Build the trials' parts. A job whose parts refuse their values has failed."""
        trials = []
        for job in jobs:
            try:
                trials.append((job, self._make_trial(job)))
            except Exception as error:
                self._record_failure(job, error)
        return trials

    def _make_trial(self, job: PlannedJob) -> Trial:
        """Build one trial; trials of the same data share it."""
        key = make_data_key(job.config)
        loaded, batches = self.loaded.get(key, (None, None))
        if has_declared_sizes(job.config):
            parts = assemble(_resolve(job), fresh=True, loaded=loaded, data=batches)
        else:  # interpolations need sizes that only the data have
            with use_hydra_config(job.full):
                parts = assemble(job.get_task_config(), fresh=True, loaded=loaded, data=batches)
            parts = parts._replace(config=ResolvedConfig(to_dict(parts.config)))
        self.loaded[key] = parts.dataset, parts.data
        init_from_data(parts)
        return Trial(parts, job.directory, job.about, get_random_state())

    def _train_stack(self, jobs: list[PlannedJob], trials: list[Trial]) -> None:
        """Train trials as one stack.

        Raises:
            NotVectorizable: they cannot be; nothing is written.
        """

        def make_engine(rows: Sequence[int]) -> Engine:
            return ENGINES[type(trials[0].parts.procedure)]([trials[k] for k in rows], self.compile)

        def make_loader(rows: Sequence[int]) -> StackedLoader:
            return StackedLoader([trials[k].parts.data for k in rows])

        everyone = range(len(trials))
        started, first = time.monotonic(), trials[0].parts
        _choose_threads_and_precision([trial.parts for trial in trials])
        loader, engine = make_loader(everyone), make_engine(everyone)
        engine.check_step(next(loader.train(0)), loader.per_trial)
        progress = Progress()
        progress.print_line(f"{len(trials)} trials, trained together:")
        about = {**jobs[0].about, **describe(first)}
        progress.show_plan(about, first.config, first.data.steps)
        for job, trial in zip(jobs, trials, strict=True):
            with trial.catch_failure():
                job.write_hydra_files()
                if self.has_callbacks:
                    self.context.callbacks.on_job_start(config=job.full, task_function=self.task)
                trial.open()
        try:
            StackedTrainer(trials, make_engine, make_loader, progress).run(engine)
        except Interrupted as stop:
            raise JobAborted(stop) from stop
        except Exception as error:  # of the step itself: it is every trial's
            for trial in trials:
                if not trial.ended:
                    trial.fail(error)
        for job, trial in zip(jobs, trials, strict=True):
            self._record_result(job, trial)
        self._print_summary(trials, progress, time.monotonic() - started)

    def _record_result(self, job: PlannedJob, trial: Trial) -> None:
        """Record a trial's objective, or its failure, as its job's return."""
        if trial.error is None:
            assert trial.metrics is not None
            result = job.make_return(compute_objective(trial.metrics), JobStatus.COMPLETED)
            self._record_return(job, result)
        elif not isinstance(trial.error, Interrupted):
            self._record_failure(job, trial.error)

    def _record_failure(self, job: PlannedJob, error: BaseException) -> None:
        """Record an error as a job's return, as a job of its own would."""
        assert isinstance(error, Exception)
        self.task.handle_failure(job.directory, job.full.hydra, error)
        self._record_return(job, job.make_return(error, JobStatus.FAILED))

    def _record_return(self, job: PlannedJob, result: JobReturn) -> None:
        """Keep a job's return, and call Hydra's callbacks."""
        self.returns[job.number] = result
        if self.has_callbacks:
            self.context.callbacks.on_job_end(config=job.full, job_return=result)

    def _print_summary(self, trials: Sequence[Trial], progress: Progress, seconds: float) -> None:
        """Print how many trials finished, in what time and where."""
        finished = [trial for trial in trials if trial.metrics is not None]
        place = relative_to_cwd(trials[0].directory.parent)
        progress.print_line(f"{len(finished)} of {len(trials)} trials finished in {seconds:.3g} s · {place}")


def _choose_threads_and_precision(parts: Sequence[Parts]) -> None:
    """Choose threads and the precision of products by the size of a stack's step, as a single run does by its own."""
    first = parts[0]
    weights = sum(p.numel() for p in first.model.parameters())
    chosen: dict[str, Any] = {"threads": choose_threads(first.trainer.threads, len(parts) * first.data.batch * weights)}
    if first.trainer.matmul == "auto" and first.trainer.device.type == "cpu":
        # Batched products of medium size took 1.2 of the time through oneDNN, single ones 0.85.
        torch.set_float32_matmul_precision("highest")
        chosen["matmul"] = "highest"
    for one in parts:
        one.machine.update(chosen)


def _get_structure(model: nn.Module) -> Any:
    """Return what the models of one stack must have in common: modules, and the parameters' shapes."""
    modules = tuple((name, type(module)) for name, module in model.named_modules())
    return modules, tuple((name, p.shape, p.requires_grad) for name, p in model.named_parameters())


def _resolve(job: PlannedJob) -> ResolvedConfig:
    """Return a job's configuration, resolved but for what follows the length of the run, which the data decide."""
    config = ResolvedConfig(job.config)
    for key, value in (job.raw.get("scheduler") or {}).items():
        if value == length.FOLLOWED:
            config.scheduler[key] = value
    return config
