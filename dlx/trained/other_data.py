"""Measure a run on a file that it was not trained on: all of it, by what the run fitted to its own."""

from collections.abc import Sequence

from dlx.datasets.fingerprint import fingerprint, list_changes
from dlx.parts import Parts
from dlx.runs.rundir import Run
from dlx.runs.saved import parse_overrides

OWN_SPLITS = ("dataset.test", "dataset.val", "dataset.limit", "dataset.test_path", "dataset.val_path")


def measure_other_file(run: Run, parts: Parts, overrides: Sequence[str], split: str | None) -> str | None:
    """Have all of the file measured that `dataset.path=` names, where it is not what the run was trained on.

    Nothing changes where a split is asked for, or where it is said how the file is to be split.

    Args:
        run: that was trained.
        parts: its own, the data still to be read.
        overrides: as they were typed.
        split: as it was typed.

    Returns:
        What to say where a part of the file is measured in spite of that; None for nothing.
    """
    typed = {key for key, _ in parse_overrides(overrides)}
    if "dataset.path" not in typed or split is not None or typed & {*OWN_SPLITS}:
        return None
    dataset = parts.dataset
    if not list_changes(run.read().get("data") or {"files": []}, fingerprint(dataset)):
        return f"{dataset.source} holds what was trained on: its split {dataset.held_out} is measured"
    if dataset.is_read:  # by a run without a state, which was fitted to what it read
        return f"{dataset.source}: its split {dataset.held_out} is measured, scaled by the others"
    dataset.measure_whole()
    return None
