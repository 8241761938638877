"""Jobs of one kind, from their configurations to what they came to."""

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
from dlx.job import Job, Stopped, objective
from dlx.parts import Parts, assemble, describe, prepare
from dlx.procedures.backprop import Backprop
from dlx.procedures.contrastive_divergence import ContrastiveDivergence
from dlx.procedures.procedure import Procedure
from dlx.run import to_dict
from dlx.runs.rundir import near
from dlx.terminal.progress import Progress
from dlx.vectorized.engine import Engine
from dlx.vectorized.groups import data, declared
from dlx.vectorized.jobs import Planned, current
from dlx.vectorized.not_vectorizable import Unstacked
from dlx.vectorized.stacked_backprop import StackedBackprop
from dlx.vectorized.stacked_contrastive_divergence import StackedContrast
from dlx.vectorized.stacked_loader import Streams
from dlx.vectorized.stacked_trainer import Together
from dlx.vectorized.trial import Trial

ENGINES: dict[type[Procedure], Callable[[Sequence[Trial], bool | Literal["auto"]], Engine]] = {
    Backprop: StackedBackprop,
    ContrastiveDivergence: StackedContrast,
}


class Group:
    """Jobs that may be one stack.

    Args:
        jobs: of one kind.
        task: what Hydra would call for each.
        context: Hydra's.
        most: trials in one stack.
        compile: see the launcher.
    """

    def __init__(
        self,
        jobs: Sequence[Planned],
        task: Job,
        context: HydraContext,
        most: int,
        compile: bool | Literal["auto"],
    ) -> None:
        self.jobs, self.task, self.context = list(jobs), task, context
        self.most, self.compile = most, compile
        self.heard = bool(context.callbacks.callbacks)  # whether anybody listens
        self.returns: dict[int, JobReturn] = {}
        self.left: dict[int, str] = {}  # jobs that were not run, and why
        self.known: dict[str, tuple[Dataset, Loader]] = {}  # data that is loaded

    def run(self) -> "Group":
        """Train them; afterwards `returns` and `left` say what became of each.

        Raises:
            Stopped: SIGINT or SIGTERM came.
        """
        for start in range(0, len(self.jobs), self.most):
            trials = self._assembled(self.jobs[start : start + self.most])
            alike: dict[Any, list[tuple[Planned, Trial]]] = {}
            for job, trial in trials:
                alike.setdefault(_structure(trial.parts.model), []).append((job, trial))
            for together in alike.values():
                jobs = [job for job, _ in together]
                try:
                    if len(together) == 1:
                        raise Unstacked("no other job has a model of its kind")
                    self._train(jobs, [trial for _, trial in together])
                except Unstacked as why:
                    self.left.update({job.number: str(why) for job in jobs})
        return self

    def _assembled(self, jobs: Sequence[Planned]) -> list[tuple[Planned, Trial]]:
        """Trials whose parts are built; what refuses its values has failed."""
        found = []
        for job in jobs:
            try:
                found.append((job, self._trial(job)))
            except Exception as error:
                self._failed(job, error)
        return found

    def _trial(self, job: Planned) -> Trial:
        key = data(job.config)
        loaded, batches = self.known.get(key, (None, None))
        if declared(job.config):
            parts = assemble(ResolvedConfig(job.config), fresh=True, loaded=loaded, data=batches)
        else:  # interpolations wait for sizes that only the data tell
            with current(job.full):
                parts = assemble(job.unresolved(), fresh=True, loaded=loaded, data=batches)
            parts = parts._replace(config=ResolvedConfig(to_dict(parts.config)))
        self.known[key] = parts.dataset, parts.data
        prepare(parts)
        return Trial(parts, job.directory, job.about, get_random_state())

    def _train(self, jobs: list[Planned], trials: list[Trial]) -> None:
        def engine(rows: Sequence[int]) -> Engine:
            return ENGINES[type(trials[0].parts.procedure)]([trials[k] for k in rows], self.compile)

        def streams(rows: Sequence[int]) -> Streams:
            return Streams([trials[k].parts.data for k in rows])

        everyone = range(len(trials))
        started, first = time.monotonic(), trials[0].parts
        _tune([trial.parts for trial in trials])
        batches, made = streams(everyone), engine(everyone)
        made.try_out(next(batches.train(0)), batches.own)
        progress = Progress()
        progress.print_line(f"{len(trials)} trials, trained together:")
        about = {**jobs[0].about, **describe(first)}
        progress.show_plan(about, first.config, first.data.steps)
        for job, trial in zip(jobs, trials, strict=True):
            with trial.failing():
                job.note()
                if self.heard:
                    self.context.callbacks.on_job_start(config=job.full, task_function=self.task)
                trial.open()
        try:
            Together(trials, engine, streams, progress).run(made)
        except Interrupted as stop:
            raise Stopped(stop) from stop
        except Exception as error:  # of the step itself: it is everybody's
            for trial in trials:
                if not trial.ended:
                    trial.fail(error)
        for job, trial in zip(jobs, trials, strict=True):
            self._returned(job, trial)
        self._summary(trials, progress, time.monotonic() - started)

    def _returned(self, job: Planned, trial: Trial) -> None:
        if trial.error is None:
            assert trial.metrics is not None
            back = job.returned(objective(trial.metrics), JobStatus.COMPLETED)
            self._tell(job, back)
        elif not isinstance(trial.error, Interrupted):
            self._failed(job, trial.error)

    def _failed(self, job: Planned, error: BaseException) -> None:
        assert isinstance(error, Exception)
        self.task.failed(job.directory, job.full.hydra, error)
        self._tell(job, job.returned(error, JobStatus.FAILED))

    def _tell(self, job: Planned, back: JobReturn) -> None:
        self.returns[job.number] = back
        if self.heard:
            self.context.callbacks.on_job_end(config=job.full, job_return=back)

    def _summary(self, trials: Sequence[Trial], progress: Progress, seconds: float) -> None:
        done = [trial for trial in trials if trial.metrics is not None]
        place = near(trials[0].directory.parent)
        progress.print_line(f"{len(done)} of {len(trials)} trials finished in {seconds:.3g} s · {place}")


def _tune(parts: Sequence[Parts]) -> None:
    """Choose threads and kernels by the size of a stack's step, where a lone run would choose by its own."""
    first = parts[0]
    weights = sum(p.numel() for p in first.model.parameters())
    chosen: dict[str, Any] = {"threads": choose_threads(first.trainer.threads, len(parts) * first.data.batch * weights)}
    if first.trainer.matmul == "auto" and first.trainer.device.type == "cpu":
        # Batched products of middling size took 1.2 of the time through oneDNN, single ones 0.85.
        torch.set_float32_matmul_precision("highest")
        chosen["matmul"] = "highest"
    for one in parts:
        one.machine.update(chosen)


def _structure(model: nn.Module) -> Any:
    """What the models of one stack have in common."""
    modules = tuple((name, type(module)) for name, module in model.named_modules())
    return modules, tuple((name, p.shape, p.requires_grad) for name, p in model.named_parameters())
