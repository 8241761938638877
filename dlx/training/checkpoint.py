"""Save checkpoints atomically, keeping the previous one until the new one is safe, and load them without pickle."""

import copy
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.archives import MOST_UNFOLDED, check_archive
from dlx.errors import TrainingError, UsageError
from dlx.hardware.signals import postpone_interrupts
from dlx.runs.presence import check_present

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` atomically: at every moment `path` is a complete file, or absent.

    Raises:
        TrainingError: the disk is full or not writable; an earlier file at `path` is untouched. Or the run's directory
            is gone.
    """
    check_present(path.parent.parent)
    aside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(exist_ok=True)
        with aside.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the bytes do
        aside.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
        aside.unlink(missing_ok=True)
        raise TrainingError(
            f"the checkpoint {path} could not be written ({_describe_cause(error)}); the one before it is untouched; "
            "free some space or name another hydra.run.dir, then: dlx resume " + str(path.parent.parent)
        ) from error
    except BaseException:  # interrupted: nothing is left beside it
        aside.unlink(missing_ok=True)
        raise


def _describe_cause(error: BaseException) -> str:
    """Return the operating system's message beneath an error, or the error's first line."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError):
            return os.strerror(inner.errno) if inner.errno else str(inner)
        inner = inner.__context__
    return str(error).splitlines()[0]


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors, numbers, strings, lists and dicts, never code.

    Raises:
        UsageError: the file is missing, truncated or damaged, or holds anything else.
    """
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}; needed: a run that saved one; type dlx runs to see them")
    try:
        check_archive(path, MOST_UNFOLDED)
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # checks every part's CRC: torch itself does not
        if broken is not None:
            raise UsageError(f"the checkpoint {path} is damaged: {broken} does not match its checksum")
        content = torch.load(path, map_location=device, weights_only=True)
    except UsageError:
        raise
    except Exception as error:  # zipfile and torch.load fail in many ways on other files' bytes
        raise UsageError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}: {str(error).splitlines()[0][:200]}); "
            "needed: a complete file written by dlx, which holds tensors and numbers only"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"the checkpoint {path} is not in a format that this version of dlx reads ({FORMAT})")
    return content


def is_resumable(directory: Path) -> bool:
    """Tell whether a run has a checkpoint to go on from; `best.pt` alone, of a save that was cut short, is none."""
    return any((directory / name).is_file() for name in ("last.pt", "previous.pt"))


def load_dataset_state(directory: Path) -> dict[str, Any] | None:
    """Read the dataset's state alone from a run's newest checkpoint, without its weights.

    Returns:
        The state; None where no checkpoint is intact, or it was saved before checkpoints held one.
    """
    for name in ("last.pt", "previous.pt"):
        try:
            content = torch.load(directory / name, map_location="cpu", weights_only=True, mmap=True)
            state: dict[str, Any] | None = content.get("dataset")
            return copy.deepcopy(state)  # the file is not kept open for it
        except Exception:  # whoever loads all of it says what is wrong
            continue
    return None


class Checkpoints:
    """`last.pt`, `previous.pt` and `best.pt` of one run.

    Args:
        directory: the run's `checkpoints/`; None writes nothing.
        dataset: the state of its dataset, which goes into each of them.
    """

    def __init__(self, directory: Path | None, dataset: Mapping[str, Any] | None = None) -> None:
        self.directory = directory
        self.common: dict[str, Any] = {} if dataset is None else {"dataset": dict(dataset)}
        self.pending: dict[str, Any] | None = None  # a best model that is not on disk yet

    def save_best(self, model: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Keep a new best model; a small one is copied in memory and written with the next `last.pt`.

        A tiny network improves at every epoch and an epoch takes milliseconds: writing each would cost more than
        training. `last.pt` is never ahead of `best.pt`, so a killed run resumes with the best model of its checkpoint.

        Args:
            model: its state.
            about: epoch, step, metric and value.
        """
        if self.directory is None:
            return
        if sum(v.numel() * v.element_size() for v in model.values()) < 2**26:
            copied = {name: value.clone() for name, value in model.items()}
            self.pending = {"model": copied, **about, **self.common}
        else:
            self.pending = None
            save(self.directory / "best.pt", {"model": model, **about, **self.common})

    def save_last(self, content: dict[str, Any]) -> None:
        """Write `last.pt`; the earlier one becomes `previous.pt`. A second signal waits until both are whole."""
        if self.directory is not None:
            with postpone_interrupts():
                self._save_last(self.directory, content)

    def _save_last(self, directory: Path, content: dict[str, Any]) -> None:
        if self.pending is not None:
            save(directory / "best.pt", self.pending)
            self.pending = None
        last, previous = directory / "last.pt", directory / "previous.pt"
        if last.exists():
            # A hard link keeps the old file under both names until the new one replaces the first.
            previous.unlink(missing_ok=True)
            try:
                os.link(last, previous)
            except OSError:  # a file system without hard links
                previous.write_bytes(last.read_bytes())
        save(last, {**content, **self.common})

    def load_latest(self, device: torch.device | str = "cpu") -> tuple[dict[str, Any], str | None]:
        """Return the newest intact checkpoint, and a note about a damaged newer one that was skipped.

        Raises:
            UsageError: there is no intact checkpoint.
        """
        assert self.directory is not None
        try:
            return load(self.directory / "last.pt", device), None
        except UsageError as error:
            previous = self.directory / "previous.pt"
            if not previous.exists():
                raise
            return load(previous, device), f"{error}; going on from {previous.name} instead"
