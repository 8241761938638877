"""Directories whose code this user trusts, in the user's state directory: never because of what lies in them.

A directory is trusted once the user trains in it, or types `dlx trust DIR`. The trust is in that directory alone,
not in those below it: a stranger's archive may be unpacked there.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_training: Path | None = None  # where this process trains, which is trust enough where nothing can be recorded


def find_state_file() -> Path:
    """Return the file of trusted directories, below XDG_STATE_HOME or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a path that is not absolute is to be ignored.
    home = Path(state) if Path(state).is_absolute() else Path("~/.local/state").expanduser()
    return home / "dlx" / "trusted.json"


def list_trusted() -> list[str]:
    """List the trusted directories; none where the record is missing or is no list of paths."""
    try:
        content = json.loads(find_state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return sorted(path for path in content if isinstance(path, str)) if isinstance(content, list) else []


def is_trusted(directory: Path | str | None = None) -> bool:
    """Tell whether the user trusts a directory; None is the working directory."""
    place = Path(directory or "").resolve()
    return place == _training or str(place) in list_trusted()


def trust(directory: Path | str) -> None:
    """Record a directory as trusted.

    Raises:
        OSError: the record cannot be written.
    """
    _write(sorted({*list_trusted(), str(Path(directory).resolve())}))


def distrust(directory: Path | str) -> bool:
    """Remove a directory from the record; return whether it was there.

    Raises:
        OSError: the record cannot be written.
    """
    before, place = list_trusted(), str(Path(directory).resolve())
    if place not in before:
        return False
    _write([path for path in before if path != place])
    return True


def _write(paths: list[str]) -> None:
    file = find_state_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(paths, indent=1) + "\n", encoding="utf-8")
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def is_within_run(directory: Path) -> bool:
    """Tell whether a directory is a run's, or lies within one."""
    return any((folder / "run.json").exists() for folder in (directory, *directory.parents))


@contextlib.contextmanager
def trust_while_composing() -> Iterator[None]:
    """Trust the working directory within the block, which composes a training; `trust_training` keeps the trust.

    A run's own directory is not trusted because somebody trains in it: a stranger wrote what lies there.
    """
    global _training
    before, here = _training, Path.cwd().resolve()
    _training = before if is_within_run(here) else here
    try:
        yield
    except BaseException:
        _training = before
        raise


def trust_training(folders: Sequence[Path] = ()) -> None:
    """Record the working directory, where a training is about to begin, as trusted.

    Args:
        folders: of configuration files that it uses, which may lie elsewhere.
    """
    if _training is None:
        return
    known = list_trusted()
    new = {str(_training), *(str(folder.resolve()) for folder in folders)} - set(known)
    if new:
        with contextlib.suppress(OSError):  # a home that cannot be written: this process trusts it all the same
            _write(sorted({*known, *new}))
