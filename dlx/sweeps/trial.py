"""Run one trial of a sweep, in whatever process the launcher has chosen: begin it, or resume it where it was killed."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dlx.errors import UsageError
from dlx.run import describe_job, resume, train_in
from dlx.runs.rundir import Run
from dlx.runs.saved import load_config
from dlx.sweeps.pruning import PruningCallback
from dlx.sweeps.record import read_record
from dlx.terminal.progress import Progress


def run_trial(config: DictConfig, hydra: Any) -> dict[str, float]:
    """Train in the trial's own directory. Returns the final metrics.

    Args:
        config: the composed configuration.
        hydra: Hydra's node, whose sweeper knows the trial's number.
    """
    directory, about = Path(hydra.runtime.output_dir), describe_job(hydra)
    sweep = Path(hydra.runtime.cwd, hydra.sweep.dir)
    record = read_record(sweep)
    assert record is not None
    quiet = Progress(quiet=True)
    number, epochs = int(hydra.sweeper.trial), config.trainer.epochs
    pruning = [PruningCallback(sweep, number, record, epochs)] if record.prune else []
    run = Run(directory)
    if not _has_begun(run):
        run = train_in(directory, config, about, quiet, pruning)
    elif run.read().get("status") not in ("finished", "pruned"):
        saved = load_config(run)
        saved.allow = config.get("allow") or []
        resume(run, saved, quiet, pruning)
    metrics: dict[str, float] = run.read()["metrics"]
    return metrics


def _has_begun(run: Run) -> bool:
    """Whether there is a run to resume; a run.json that a killed process left without one is removed."""
    try:
        has_begun = bool(run.read())
        load_config(run)
    except UsageError:
        has_begun = False
    if not has_begun:
        run.file.unlink(missing_ok=True)
    return has_begun
