"""Notice that a run's directory was deleted or moved under it."""

from pathlib import Path

from dlx.errors import TrainingError


def check_present(directory: Path) -> None:
    """Refuse to write into a directory that is not there any more; a folder within it is no reason to make it again.

    Raises:
        TrainingError: it was deleted or moved.
    """
    if not directory.is_dir():
        raise TrainingError(
            f"the run directory {directory} is gone: it was deleted or moved while the run was being trained, so "
            "nothing more can be saved in it; dlx resume DIR goes on with a moved one"
        )
