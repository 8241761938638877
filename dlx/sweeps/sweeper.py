"""Optuna behind Hydra's sweeper interface: ask for trials, let the launcher run them, and tell their results.

`dlx sweep NAME …` and `dlx -m hydra/sweeper=dlx_optuna hydra.sweep.dir=outputs/sweeps/NAME …` are the same.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from dlx.errors import DlxError, Interrupted
from dlx.job import JobAborted
from dlx.sweeps.record import Record, continue_command
from dlx.sweeps.settings import resolve_settings
from dlx.sweeps.space import Space


class OptunaSweeper(Sweeper):
    """Runs a sweep's trials.

    Args:
        settings: conf/hydra/sweeper/dlx_optuna.yaml explains them.
    """

    def __init__(self, **settings: Any) -> None:
        self.batch = settings.get("batch", "auto")  # the others are read and checked in the configuration

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.settings = hydra_context, config
        with open_dict(config):
            config.hydra.hydra_logging.root.level = "WARNING"  # else the launcher announces every trial
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        directory = Path(self.settings.hydra.sweep.dir)
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        try:
            record, space = resolve_settings(self.settings, arguments, directory, parser)
            record.write(directory)
            return self._run(directory, record, space)
        except JobAborted as stop:
            if isinstance(stop.error, Interrupted):
                raise JobAborted(
                    Interrupted(f"{stop.error}; type {continue_command(directory)} to go on")
                ) from stop.error
            raise
        except DlxError as error:  # past Hydra, which would print a traceback
            raise JobAborted(error) from error

    # -- the trials --------------------------------------------------------------------------------------------------

    def _run(self, directory: Path, record: Record, space: Space) -> list[dict[str, Any]]:
        """Run the trials until none is left. Returns them."""
        import optuna

        from dlx.sweeps import results
        from dlx.sweeps.heartbeat import Heartbeat
        from dlx.sweeps.study import Study

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        OmegaConf.save(self.settings, directory / "multirun.yaml")
        epochs_vary = any(one.name == "trainer.epochs" for one in space.dimensions)
        with Heartbeat(directory) as heartbeat:
            study = Study(directory, record, space, heartbeat, None if epochs_vary else self.settings.trainer.epochs)
            reporter = results.TrialReporter(study)
            # Hydra's own launchers run batches; `Processes` takes the next trial whenever a slot is free.
            iterate_results = getattr(self.launcher, "iterate_results", self._run_batches)
            for trial, result in iterate_results(self._iterate_jobs(study)):
                reporter.print_trial(trial, settled=study.settle(trial, death=_get_failure_reason(result)))
            return results.report_sweep(study)

    def _iterate_jobs(self, study: Any) -> Iterator[tuple[Any, list[str]]]:
        """Yield trials and the overrides of their jobs, until none is left."""
        while (trial := study.claim_next()) is not None:
            choices = "${hydra.runtime.choices.model}-${hydra.runtime.choices.dataset}"
            place = f"hydra.sweep.subdir={trial.number}-{choices}-{trial.id}"
            yield trial, [*trial.overrides, place, f"hydra.sweeper.trial={trial.number}"]

    def _run_batches(self, jobs: Iterator[tuple[Any, list[str]]]) -> Iterator[tuple[Any, Any]]:
        """Yield trials and the launcher's results, in batches of as many as it runs at once."""
        batch: list[tuple[Any, list[str]]] = []
        for job in jobs:
            if job[0].has_begun:  # alone: a launcher that trains several as one cannot resume it
                yield from self._launch([job])
                continue
            batch.append(job)
            if len(batch) == self._get_batch_size():
                yield from self._launch(batch)
                batch = []
        if batch:
            yield from self._launch(batch)

    def _launch(self, batch: list[tuple[Any, list[str]]]) -> Iterator[tuple[Any, Any]]:
        """Launch a batch of jobs. Yields their trials and results."""
        returns = self.launcher.launch([overrides for _, overrides in batch], initial_job_idx=batch[0][0].number)
        yield from zip([trial for trial, _ in batch], returns, strict=True)

    def _get_batch_size(self) -> int:
        """Return how many jobs the launcher runs at once."""
        if isinstance(self.batch, int):
            return self.batch
        launcher = self.settings.hydra.launcher
        jobs = launcher.get("most") or launcher.get("n_jobs")  # of vectorized, of joblib
        if not isinstance(jobs, int):
            return 8 if "timeout_min" in launcher else 1  # submitit's: an array of jobs
        return jobs if jobs > 0 else max((os.cpu_count() or 1) + 1 + jobs, 1)


def _get_failure_reason(result: Any) -> str | None:
    """Return why a job failed, as its launcher knows it; None where it did not."""
    value = getattr(result, "_return_value", None)
    if not isinstance(value, BaseException):
        return None
    return str(value) if isinstance(value, DlxError) else f"{type(value).__name__}: {value}"
