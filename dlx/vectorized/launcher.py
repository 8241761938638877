"""`hydra/launcher=vectorized`: train jobs that differ only in seeds and numbers as one stacked model."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dlx.errors import UsageError
from dlx.job import Job, JobAborted
from dlx.types import Count
from dlx.vectorized.composing import install_composer
from dlx.vectorized.groups import explain_unfit, make_stack_key
from dlx.vectorized.jobs import PlannedJob


class Vectorized(Launcher):
    """Trains what it can as stacks; the other jobs run one after another, and a line says why.

    Args:
        most: how many trials one stack may have.
        compile: whether to compile the stacked step with torch's compiler; `auto` where enough steps pay for it.
    """

    def __init__(self, most: Count = 64, compile: bool | Literal["auto"] = "auto") -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            given = f"hydra.launcher.most={most} was given; needed: how many trials a stack may have"
            raise JobAborted(UsageError(f"{given}; type hydra.launcher.most=64"))
        if compile not in (True, False, "auto"):
            given = f"hydra.launcher.compile={compile} was given; needed: auto, true or false"
            raise JobAborted(UsageError(f"{given}; type hydra.launcher.compile=auto"))
        self.most, self.compile = most, compile

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands a launcher, and speed up its composing."""
        self.context, self.task, self.config = hydra_context, task_function, config
        self.composer = install_composer(
            hydra_context.config_loader, task_function.own_packages if isinstance(task_function, Job) else ()
        )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs.

        Args:
            job_overrides: the overrides of each.
            initial_job_idx: the number of the first.

        Returns:
            Each job's return, in their order.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        numbered = enumerate(job_overrides, start=initial_job_idx)
        jobs = [self.composer.plan_job(self.config, list(words), number) for number, words in numbered]
        returns: dict[int, JobReturn] = {}
        alone: Counter[str] = Counter()
        for group, reason in self._group_jobs(jobs):
            left: Mapping[int, str | None] = {job.number: reason for job in group}
            if reason is None:
                from dlx.vectorized.group import JobGroup

                assert isinstance(self.task, Job)
                stacked = JobGroup(group, self.task, self.context, self.most, self.compile).run()
                returns |= stacked.returns
                left = stacked.not_stacked
            for job in group:
                if job.number in left:
                    alone[str(left[job.number])] += 1
                    returns[job.number] = self._run_alone(job)
        for why, count in alone.items():
            print(f"vectorized: {count} job{'s' * (count > 1)} ran alone: {why}", file=sys.stderr)
        return [returns[job.number] for job in jobs]

    def _group_jobs(self, jobs: list[PlannedJob]) -> list[tuple[list[PlannedJob], str | None]]:
        """Return the groups of jobs that may be one stack, and those that may not, with the reason."""
        groups: dict[str, list[PlannedJob]] = {}
        for job in jobs:
            why = "the task is not dlx's own" if not isinstance(self.task, Job) else explain_unfit(job.config)
            why = why or (None if job.can_share_process else "hydra.job.chdir and env_set are for one job at a time")
            groups.setdefault(f"alone: {why}" if why else make_stack_key(job.config), []).append(job)
        reasons: list[tuple[list[PlannedJob], str | None]] = []
        for key, group in groups.items():
            why = key.removeprefix("alone: ") if key.startswith("alone: ") else None
            if why is None and len(group) == 1:
                why = "no other job is of its kind"
            reasons.append((group, why))
        return reasons

    def _run_alone(self, job: PlannedJob) -> JobReturn:
        """Run an ordinary job, in this process."""
        result = run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=job.full,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return result
