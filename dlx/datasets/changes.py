"""What has changed in the data since a run was trained on it."""

from omegaconf import DictConfig

from dlx.datasets.dataset import Dataset
from dlx.datasets.fingerprint import fingerprint, list_changes
from dlx.errors import UsageError
from dlx.instantiate import build
from dlx.runs.rundir import Run
from dlx.terminal import terminal


def note_changes(run: Run, dataset: Dataset) -> None:
    """Say what has changed in the data since the run was trained."""
    for change in list_changes(run.read().get("data"), fingerprint(dataset)):
        terminal.print_note(f"{change}; it is read by what the run fitted to its own")


def check_data(run: Run, config: DictConfig, accept_changed_data: bool) -> list[str]:
    """Compare the data with what a run was trained on so far, before it goes on.

    Returns:
        What has changed and was accepted.

    Raises:
        UsageError: something has changed, and nobody said that it may.
    """
    before, dataset = run.read().get("data"), build(config, "dataset")
    if before is None or ("files" in before and not dataset.list_files()):  # reading says best what is missing
        return []
    changes = list_changes(before, fingerprint(dataset))
    if changes and not accept_changed_data:
        raise UsageError(
            f"{'; '.join(changes)}; needed: the same data, or another run; type dlx resume {run.directory} "
            "--accept-changed-data to go on with it, scaled and named as before"
        )
    return changes
