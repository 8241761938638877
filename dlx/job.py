"""One job of Hydra's or of a sweep: train, and leave no empty directory behind."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dlx.config.compose import allow_own_packages, register_resolvers
from dlx.config.search import add_cwd_to_sys_path
from dlx.config.trusted import trust_while_composing
from dlx.errors import DlxError, Interrupted
from dlx.runs.failures import record_failure


class JobAborted(BaseException):
    """An error on its way past Hydra, which would otherwise print it before we do.

    Args:
        error: what the job raised.
    """

    def __init__(self, error: DlxError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class Job:
    """The function that Hydra calls with each composed configuration: once, or for every job of a sweep.

    Args:
        existing_directories: directories that existed before the job; they are never removed.
        own_packages: the user's own modules, which may be built; read before Hydra may change the working directory.
        quiet: print no progress: several jobs share a terminal.
        train_trial: trains one trial of a search; None without a search.
    """

    existing_directories: frozenset[Path] = frozenset()
    own_packages: tuple[str, ...] = ()
    quiet: bool = False
    train_trial: Callable[[DictConfig, Any], dict[str, float]] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle in a launcher's process, and set up there what Hydra and the user's own modules need."""
        self.__dict__.update(state)
        register_resolvers()
        with trust_while_composing():  # the first process has asked; its record may not be writable
            add_cwd_to_sys_path()

    def __call__(self, config: DictConfig) -> Any:
        """Train, and return the best monitored validation metric, which a sweeper may optimise."""
        hydra = HydraConfig.get()
        directory = Path(hydra.runtime.output_dir)
        allow_own_packages(config, self.own_packages)
        try:
            return compute_objective(self._train(config, hydra))
        except Interrupted as stop:  # ends a sweep too: the jobs after this one are not wanted either
            raise JobAborted(stop) from stop
        except Exception as error:
            self.handle_failure(directory, hydra, error)
            if hydra.mode == RunMode.MULTIRUN:
                raise
            if isinstance(error, DlxError):
                raise JobAborted(error) from error
            raise
        except KeyboardInterrupt:
            self.remove_leftovers(directory)
            raise

    def handle_failure(self, directory: Path, hydra: Any, error: Exception) -> None:
        """Remove the directory of a job that failed before its run began; record the failure in its sweep."""
        self.remove_leftovers(directory)
        if hydra.mode == RunMode.MULTIRUN:
            _record_failure(Path(hydra.runtime.cwd, hydra.sweep.dir), hydra, error)

    def _train(self, config: DictConfig, hydra: Any) -> dict[str, float]:
        if hydra.sweeper.get("trial") is not None and self.train_trial is not None:
            return self.train_trial(config, hydra)
        from dlx.run import train

        if not self.quiet:
            return train(config)
        from dlx.terminal.progress import Progress

        return train(config, Progress(quiet=True))

    def remove_leftovers(self, directory: Path) -> None:
        """Remove what Hydra wrote if the run never began, that is, if there is no run.json."""
        if (directory / "run.json").exists():
            return
        hydra_files = directory / ".hydra"
        if hydra_files not in self.existing_directories:
            for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
                (hydra_files / name).unlink(missing_ok=True)
        for folder in (hydra_files, directory, *directory.parents):
            if folder in self.existing_directories or not folder.exists():
                continue
            try:
                folder.rmdir()
            except OSError:  # something else lies in it
                break


def find_existing(directory: Path) -> frozenset[Path]:
    """Return which of `directory`, its parents and its `.hydra` exist already."""
    return frozenset(folder for folder in (directory / ".hydra", directory, *directory.parents) if folder.exists())


def compute_objective(metrics: dict[str, float]) -> Any:
    """Return the best monitored validation metric, or all metrics where there is none, for the sweeper."""
    best = [value for name, value in metrics.items() if name.startswith("val/best_") and math.isfinite(value)]
    return best[0] if best else metrics


def _record_failure(sweep: Path, hydra: Any, error: Exception) -> None:
    """Record a failed job in the sweep's directory, whichever process the job ran in."""
    record_failure(sweep, hydra.job.num, hydra.overrides.task, error, hydra.sweeper.get("trial"))
