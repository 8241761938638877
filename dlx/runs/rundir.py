"""Run directories: create one per run, describe it in `run.json`, find it by path, id or `last`."""

import json
import os
import platform
import re
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dlx.errors import UsageError
from dlx.runs.about import read_about
from dlx.runs.atomic import write_atomically
from dlx.runs.git import get_git_commit
from dlx.runs.lock import FILE as LOCK_FILE
from dlx.runs.lock import lock_run
from dlx.terminal.terminal import print_note
from dlx.version import __version__

ROOT = Path("outputs")
PACKAGES = ("dlx", "torch", "torchvision", "hydra-core", "omegaconf", "scikit-learn", "numpy", "tensorboard")


class Run:
    """One run on disk.

    Args:
        directory: the one that holds `run.json`.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)

    @property
    def file(self) -> Path:
        """The path of `run.json`."""
        return self.directory / "run.json"

    @property
    def checkpoints(self) -> Path:
        """The directory of `last.pt` and `best.pt`."""
        return self.directory / "checkpoints"

    @classmethod
    def create(cls, directory: Path | str, about: dict[str, Any], config: str | None = None) -> "Run":
        """Claim a directory for a new run; of two processes that try at once, one gets it.

        run.json comes last: a directory that has one is a whole run, whenever its process is killed.

        Args:
            directory: made if it is not there.
            about: entries of run.json.
            config: the content of config.yaml; None writes none.

        Raises:
            UsageError: it already holds a run, or cannot be written.
        """
        run = cls(directory)
        id_in_name = re.search(r"-([0-9a-f]{8})$", run.directory.name)
        # Collected before the directory is claimed, since it takes a while: interrupting it leaves no empty run.
        content = {
            "id": id_in_name[1] if id_in_name else secrets.token_hex(4),
            "status": "running",
            **collect_provenance(),
            **about,
        }
        try:
            run._refuse_second()
            run.directory.mkdir(parents=True, exist_ok=True)
            with lock_run(run.directory):
                run._refuse_second()
                try:
                    if config is not None:
                        write_atomically(run.directory / "config.yaml", config)
                    run.write(content)
                except BaseException:  # interrupted, or the disk is full: nothing is left
                    for name in ("run.json", "config.yaml", LOCK_FILE):
                        (run.directory / name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise UsageError(
                f"the run directory {run.directory} cannot be written ({error.strerror}); "
                "needed: a writable directory; type hydra.run.dir=… with another one"
            ) from error
        return run

    def _refuse_second(self) -> None:
        if self.file.exists():
            raise UsageError(
                f"{self.directory} already holds a run; type dlx resume {self.directory}, or another hydra.run.dir="
            )

    def read(self) -> dict[str, Any]:
        """Return the content of `run.json`.

        Raises:
            UsageError: it is missing or not JSON.
        """
        try:
            return read_about(self.file)
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.directory} holds no readable run.json ({error}); type dlx runs") from error

    def write(self, content: dict[str, Any]) -> None:
        """Replace `run.json` atomically."""
        write_atomically(self.file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def update(self, **changes: Any) -> None:
        """Change some entries of `run.json`."""
        self.write({**self.read(), **changes})


def collect_provenance() -> dict[str, Any]:
    """Return what produced a run: command, versions, commit, machine."""
    return {
        "command": shlex.join(["dlx", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **{name: get_version(name) for name in PACKAGES}},
        "git": get_git_commit(),
        "cwd": os.getcwd(),  # where the user's own modules and relative paths were found
        "host": platform.node(),
        "pid": os.getpid(),
        "started": now(),
    }


@cache
def get_version(package: str) -> str | None:
    """Return the installed version of a package, None where it is not installed."""
    if package == "dlx":  # the distribution has another name; `dlx` on PyPI is another project
        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def now() -> str:
    """Return the time in UTC, to the millisecond, in sortable ISO format."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_since(started: str) -> float:
    """Return the seconds since a time that `now` returned."""
    return time.time() - datetime.fromisoformat(started).timestamp()


def find_runs(root: Path = ROOT) -> Iterator[Run]:
    """Yield every run below `root`, including those of sweeps, in no particular order."""
    for parent, folders, files in os.walk(root):
        if "run.json" in files:
            folders.clear()  # a run holds no other run
            yield Run(parent)


def read_runs(root: Path = ROOT) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield every run below `root` with the content of its run.json; one that cannot be read is named, and left out."""
    for run in find_runs(root):
        try:
            about = run.read()
        except UsageError as error:
            print_note(f"{run.file} is passed over: {error}")
            continue
        if about:  # empty while the run is being made
            yield run, about


def find_run(name: str, root: Path = ROOT, allow_failed: bool = False) -> Run:
    """Return the run of a directory, of an id (or its first characters), or the `last` one.

    Args:
        name: what was typed.
        root: where runs are looked for.
        allow_failed: the last one may have failed.

    Raises:
        UsageError: no run matches, or several do; or the last one failed.
    """
    if "\0" in name:
        raise UsageError(f"run {name!r} was given; needed: a run's directory, its id, or last")
    if (Path(name) / "run.json").is_file():
        return Run(name)
    known = dict(read_runs(root))
    if name == "last":
        if not known:
            raise UsageError(f"there is no run below {root}/; type dlx train, or name a run's directory")
        newest = sorted(known, key=lambda run: str(known[run].get("started") or ""), reverse=True)
        if known[newest[0]].get("status") == "failed" and not allow_failed:
            older = next((run for run in newest if known[run].get("status") != "failed"), None)
            raise UsageError(
                f"last is {newest[0].directory}, which failed ({known[newest[0]].get('error', 'no reason was kept')}); "
                + (f"the newest that did not is {older.directory}; type {known[older].get('id')}" if older else "")
                + ("" if older else "type dlx runs to see the others, or dlx train for a new one")
            )
        return newest[0]
    found = [run for run, about in known.items() if str(about.get("id", "")).startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} is the beginning of {len(found)} runs: {', '.join(str(r.directory) for r in found)}")
    raise UsageError(
        f"run {name!r} was given; needed: a run's directory (one with a run.json), its id, or last; "
        f"type dlx runs to see the {len(known)} below {root}/"
    )


def relative_to_cwd(path: Path) -> Path:
    """Return a path relative to the working directory where it lies below it, else unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class NullRun(Run):
    """Stand in for a run that another process writes: nothing is read or written."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def read(self) -> dict[str, Any]:
        return {}

    def write(self, content: dict[str, Any]) -> None:
        pass
