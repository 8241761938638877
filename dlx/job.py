"""One job of Hydra's: train, and leave nothing behind where nothing was started."""

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
from dlx.errors import DlxError, Interrupted
from dlx.runs.failures import record


class Stopped(BaseException):
    """Carries an error past Hydra, which would announce it before it is shown.

    Args:
        error: what the job raised.
    """

    def __init__(self, error: DlxError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class Job:
    """The function that Hydra calls with a composed configuration, for one run or for each of a sweep.

    Args:
        existing: directories that were there before; they stay, whatever happens.
        own: the user's own modules, which may be built; read before Hydra may change the working directory.
        quiet: say nothing of how it goes: several jobs share a terminal.
        train_trial: trains one trial of a search; None where there is no search.
    """

    existing: frozenset[Path] = frozenset()
    own: tuple[str, ...] = ()
    quiet: bool = False
    train_trial: Callable[[DictConfig, Any], dict[str, float]] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A launcher's process has unpickled it: what Hydra and the user's own modules need is made ready there."""
        self.__dict__.update(state)
        register_resolvers()
        add_cwd_to_sys_path()

    def __call__(self, config: DictConfig) -> Any:
        """Train. Returns the best monitored validation metric, which a sweeper may optimise."""
        hydra = HydraConfig.get()
        directory = Path(hydra.runtime.output_dir)
        allow_own_packages(config, self.own)
        try:
            return objective(self._train(config, hydra))
        except Interrupted as stop:  # of a sweep too: the jobs after this one are not wanted either
            raise Stopped(stop) from stop
        except Exception as error:
            self.failed(directory, hydra, error)
            if hydra.mode == RunMode.MULTIRUN:
                raise
            if isinstance(error, DlxError):
                raise Stopped(error) from error
            raise
        except KeyboardInterrupt:
            self._tidy(directory)
            raise

    def failed(self, directory: Path, hydra: Any, error: Exception) -> None:
        """Leave nothing behind where nothing was started, and let a sweep know which of its jobs failed."""
        self._tidy(directory)
        if hydra.mode == RunMode.MULTIRUN:
            _record(Path(hydra.runtime.cwd, hydra.sweep.dir), hydra, error)

    def _train(self, config: DictConfig, hydra: Any) -> dict[str, float]:
        if hydra.sweeper.get("trial") is not None and self.train_trial is not None:
            return self.train_trial(config, hydra)
        from dlx.run import train

        if not self.quiet:
            return train(config)
        from dlx.terminal.progress import Progress

        return train(config, Progress(quiet=True))

    def _tidy(self, directory: Path) -> None:
        """Remove what Hydra made, if no run came of it: a run has a run.json."""
        if (directory / "run.json").exists():
            return
        notes = directory / ".hydra"
        if notes not in self.existing:
            for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
                (notes / name).unlink(missing_ok=True)
        for folder in (notes, directory, *directory.parents):
            if folder in self.existing or not folder.exists():
                continue
            try:
                folder.rmdir()
            except OSError:  # something else lies in it
                break


def existing(directory: Path) -> frozenset[Path]:
    """The directories, from `directory` up, that are there already, and its `.hydra`."""
    return frozenset(folder for folder in (directory / ".hydra", directory, *directory.parents) if folder.exists())


def objective(metrics: dict[str, float]) -> Any:
    """The best monitored validation metric, all of them where there is none: what a job returns to its sweeper."""
    best = [value for name, value in metrics.items() if name.startswith("val/best_") and math.isfinite(value)]
    return best[0] if best else metrics


def _record(sweep: Path, hydra: Any, error: Exception) -> None:
    """Note a failed job where the command that started the sweep finds it, whatever process the job ran in."""
    record(sweep, hydra.job.num, hydra.overrides.task, error, hydra.sweeper.get("trial"))
