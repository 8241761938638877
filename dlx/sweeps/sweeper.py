"""Optuna behind Hydra's sweeper interface: asks, has the launcher run, and settles, until all trials are done.

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
from dlx.sweeps.settings import agreed
from dlx.sweeps.space import Space


class OptunaSweeper(Sweeper):
    """Runs a sweep's trials.

    Args:
        settings: as conf/hydra/sweeper/dlx_optuna.yaml explains them.
    """

    def __init__(self, **settings: Any) -> None:
        self.batch = settings.get("batch", "auto")  # the others are read, and checked, in the configuration

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.settings = hydra_context, config
        with open_dict(config):
            config.hydra.hydra_logging.root.level = "WARNING"  # the launcher would announce every trial
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        directory = Path(self.settings.hydra.sweep.dir)
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        try:
            record, searched = agreed(self.settings, arguments, directory, parser)
            record.write(directory)
            return self._run(directory, record, searched)
        except JobAborted as stop:
            if isinstance(stop.error, Interrupted):
                raise JobAborted(
                    Interrupted(f"{stop.error}; type {continue_command(directory)} to go on")
                ) from stop.error
            raise
        except DlxError as error:  # past Hydra, which would print it
            raise JobAborted(error) from error

    # -- the trials --------------------------------------------------------------------------------------------------

    def _run(self, directory: Path, record: Record, searched: Space) -> list[dict[str, Any]]:
        import optuna

        from dlx.sweeps import results
        from dlx.sweeps.heartbeat import Owner
        from dlx.sweeps.study import Study

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        OmegaConf.save(self.settings, directory / "multirun.yaml")
        swept = any(one.name == "trainer.epochs" for one in searched.dimensions)
        with Owner(directory) as owner:
            study = Study(directory, record, searched, owner, None if swept else self.settings.trainer.epochs)
            news = results.News(study)
            stream = getattr(self.launcher, "stream", None)
            for trial, answer in (stream or self._batches)(self._jobs(study)):
                news.tell(trial, settled=study.settle(trial, died=_reason(answer)))
            return results.report(study)

    def _jobs(self, study: Any) -> Iterator[tuple[Any, list[str]]]:
        while (trial := study.next()) is not None:
            choices = "${hydra.runtime.choices.model}-${hydra.runtime.choices.dataset}"
            place = f"hydra.sweep.subdir={trial.number}-{choices}-{trial.id}"
            yield trial, [*trial.words, place, f"hydra.sweeper.trial={trial.number}"]

    def _batches(self, jobs: Iterator[tuple[Any, list[str]]]) -> Iterator[tuple[Any, Any]]:
        """Trials and what the launcher answered, so many at a time as it runs at once."""
        batch: list[tuple[Any, list[str]]] = []
        for job in jobs:
            if job[0].begun:  # alone: a launcher that trains several as one could not go on with it
                yield from self._launched([job])
                continue
            batch.append(job)
            if len(batch) == self._at_once():
                yield from self._launched(batch)
                batch = []
        if batch:
            yield from self._launched(batch)

    def _launched(self, batch: list[tuple[Any, list[str]]]) -> Iterator[tuple[Any, Any]]:
        answers = self.launcher.launch([words for _, words in batch], initial_job_idx=batch[0][0].number)
        yield from zip([trial for trial, _ in batch], answers, strict=True)

    def _at_once(self) -> int:
        if isinstance(self.batch, int):
            return self.batch
        launcher = self.settings.hydra.launcher
        asked = launcher.get("most") or launcher.get("n_jobs")  # of vectorized, of joblib
        if not isinstance(asked, int):
            return 8 if "timeout_min" in launcher else 1  # submitit's: an array of jobs
        return asked if asked > 0 else max((os.cpu_count() or 1) + 1 + asked, 1)


def _reason(answer: Any) -> str | None:
    """Why a job failed, as its launcher knows it."""
    value = getattr(answer, "_return_value", None)
    if not isinstance(value, BaseException):
        return None
    return str(value) if isinstance(value, DlxError) else f"{type(value).__name__}: {value}"
