"""One trial of a sweep, in whatever process the launcher has chosen: begun, or gone on with where it was killed."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dlx.errors import UsageError
from dlx.run import describe_job, resume, train_in
from dlx.runs.rundir import Run
from dlx.runs.saved import load_config
from dlx.sweeps.pruning import Pruning
from dlx.sweeps.record import read
from dlx.terminal.progress import Progress


def run(config: DictConfig, hydra: Any) -> dict[str, float]:
    """Train in the trial's own directory. Returns the final metrics.

    Args:
        config: composed.
        hydra: Hydra's node, whose sweeper knows the trial's number.
    """
    directory, about = Path(hydra.runtime.output_dir), describe_job(hydra)
    sweep = Path(hydra.runtime.cwd, hydra.sweep.dir)
    record = read(sweep)
    assert record is not None
    quiet = Progress(quiet=True)
    watch = Pruning(sweep, int(hydra.sweeper.trial), record, config.trainer.epochs) if record.prune else None
    begun = Run(directory)
    if not _begun(begun):
        return train_in(directory, config, about, quiet, watch).read()["metrics"]
    if begun.read().get("status") not in ("finished", "pruned"):
        saved = load_config(begun)
        saved.allow = config.get("allow") or []
        resume(begun, saved, quiet, watch)
    return begun.read()["metrics"]


def _begun(run: Run) -> bool:
    """Whether there is a run to go on with; what a process was killed over before that is cleared away."""
    try:
        known = bool(run.read())
        load_config(run)
    except UsageError:
        known = False
    if not known:
        run.file.unlink(missing_ok=True)
    return known
