"""Find data on disk, and how much of it fits into memory. Imports nothing heavy."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from dlx.errors import UsageError


def list_roots(root: str | None = None) -> list[Path]:
    """List the folders in which data is looked for: `root` alone if given, else DLX_DATA, ./data, ~/.cache/dlx."""
    if root is not None:
        return [Path(root).expanduser()]
    given = os.environ.get("DLX_DATA")
    return [*([Path(given).expanduser()] if given else []), Path.cwd() / "data", Path.home() / ".cache" / "dlx"]


def get_download_root(root: str | None = None) -> Path:
    """Return the folder that downloads go to: `root`, else DLX_DATA, else ~/.cache/dlx."""
    if root is not None or os.environ.get("DLX_DATA"):
        return list_roots(root)[0]
    return list_roots()[-1]


def find_root(paths: Iterable[str], root: str | None = None) -> Path | None:
    """Find the first root that holds one of `paths`."""
    candidates = list(paths)
    return next((folder for folder in list_roots(root) for path in candidates if (folder / path).exists()), None)


def check_root(root: str | None) -> None:
    """Refuse a folder that the user named and that is not there: a slip of the pen should not start a download.

    Raises:
        UsageError: `root`, or else DLX_DATA, is no folder.
    """
    named = root if root is not None else os.environ.get("DLX_DATA")
    if named and not Path(named).expanduser().is_dir():
        option = f"dataset.root={named}" if root is not None else f"DLX_DATA={named}"
        raise UsageError(
            f"{option} was given; there is no such folder; type the folder that holds your data, "
            f"or to download into a new one: mkdir -p {named}"
        )


def format_locations(root: str | None, path: str) -> str:
    """Say for messages where `path` was looked for."""
    return " and ".join(str(folder / path) for folder in list_roots(root))


def require_path(path: str | None, option: str, example: str) -> Path:
    """Return a file or folder that the user named, which must exist.

    Raises:
        UsageError: none was named, or it is not there.
    """
    if path is None:
        raise UsageError(f"{option} is not set; needed: the path of your data; type {option}={example}")
    resolved = Path(path).expanduser()
    if not resolved.exists():
        beside = resolved.parent
        if not beside.is_dir():
            raise UsageError(f"{option}={path} was given; there is no folder {beside.absolute()}; type another path")
        names = sorted(entry.name for entry in beside.iterdir() if not entry.name.startswith("."))[:8]
        raise UsageError(
            f"{option}={path} was given; there is no such file or folder in {beside.absolute()}, "
            f"which holds {', '.join(names) or 'nothing'}; type another path"
        )
    return resolved


def locate_path(path: str | None, example: str, root: str | None = None) -> Path:
    """Find what the user named as dataset.path: as it stands, or below one of the data folders.

    Raises:
        UsageError: nothing was named, or it is in none of these places.
    """
    if path is None or Path(path).expanduser().exists():
        return require_path(path, "dataset.path", example)
    folder = find_root([path], root)
    if folder is None:
        raise UsageError(
            f"dataset.path={path} was looked for here and in {format_locations(root, path)} and not found; type "
            f"dataset.path={example}, or set DLX_DATA to the folder that holds it"
        )
    return folder / path


def is_hidden(name: str) -> bool:
    """Return whether a part of a path within a folder begins with "." or "__": what systems and editors leave."""
    return any(part.startswith((".", "__")) for part in name.split("/"))


def select_files(names: Iterable[str], suffixes: Collection[str]) -> tuple[list[str], list[str]]:
    """Divide the files of a folder into those to be read and those passed over, each in the order of names.

    Args:
        names: paths within the folder, with "/".
        suffixes: of the files to be read, in lower case; hidden files are passed over whatever theirs is.
    """
    ordered = sorted(names, key=lambda name: name.split("/"))
    kept = [name for name in ordered if not is_hidden(name) and os.path.splitext(name)[1].lower() in suffixes]
    chosen = set(kept)
    return kept, [name for name in ordered if name not in chosen]


def list_files(folder: Path, suffixes: Collection[str]) -> tuple[list[str], list[str]]:
    """List the files below a folder as `select_files` divides them."""
    names = [entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_file()]
    return select_files(names, suffixes)


def format_passed_over(names: Sequence[str]) -> str:
    """Say which files were passed over: "3 files passed over: 2 hidden (.DS_Store, a/._3.png), 1 other (list.txt)"."""
    hidden = [name for name in names if is_hidden(name)]
    other = [name for name in names if not is_hidden(name)]
    kinds = [
        f"{len(members)} {kind} ({format_some(members)})"
        for kind, members in (("hidden", hidden), ("of another kind", other))
        if members
    ]
    return f"{len(names)} {'file' if len(names) == 1 else 'files'} passed over: {', '.join(kinds)}"


def format_some(names: Sequence[str], most: int = 3) -> str:
    """Join the first few of `names`, with an ellipsis for the others."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def get_free_memory() -> int:
    """Return the bytes that this process may still take (8 GB where the system does not tell)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return 8 * 2**30
