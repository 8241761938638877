"""Fingerprints of data: what a run was trained on, and what has changed since.

A file is known by its size and the SHA-256 of its bytes; beyond 1 GB by its size, its time and both of its ends. A
folder is known by the names and the contents of all that is in it, in the same way, generated data by their seed.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlx.datasets.dataset import Dataset

WHOLE_BYTES = 10**9  # up to here everything is read
END_BYTES = 2**16  # of each end of a larger file

Entry = tuple[str, int, int]  # a file's path, size, and time of its last change in nanoseconds


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """Return run.json's entry about the data: its files, or what it is generated from."""
    paths = dataset.list_files()
    if not paths:
        return {"made_by": type(dataset).__name__, "seed": dataset.seed}
    return {"files": [_describe(path) for path in paths]}


def _describe(path: Path) -> dict[str, Any]:
    """Describe a file or a folder: where it lies, its size, and its hash."""
    path = path.absolute()
    members = [path] if path.is_file() else sorted(member for member in path.rglob("*") if member.is_file())
    entries = []
    for member in members:
        found = member.stat()
        entries.append((os.path.relpath(member, path), found.st_size, found.st_mtime_ns))
    size = sum(size for _, size, _ in entries)
    about: dict[str, Any] = {"path": str(path), "bytes": size}
    if not path.is_file():
        about["files"] = len(entries)
    about["sha256"] = _hash(str(path), tuple(entries), size <= WHOLE_BYTES)
    if size > WHOLE_BYTES:
        about["hashed"] = f"sizes, times and the first and last {END_BYTES} bytes of each file, for its size"
    return about


@lru_cache(maxsize=64)  # runs of a sweep share their data
def _hash(root: str, entries: tuple[Entry, ...], whole: bool) -> str:
    """Hash files below `root`: names and contents, or sizes, times and ends."""
    digest = hashlib.sha256()
    for name, size, changed in entries:
        if len(entries) > 1 or name != ".":
            digest.update(f"{name}\0{size}\0".encode())
        with (Path(root) / name).open("rb") as file:
            if whole:
                while chunk := file.read(2**20):
                    digest.update(chunk)
                continue
            digest.update(f"{size}\0{changed}\0".encode())
            digest.update(file.read(END_BYTES))
            file.seek(max(size - END_BYTES, 0))
            digest.update(file.read(END_BYTES))
    return digest.hexdigest()


def list_changes(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Say what differs between the data that a run was trained on and the data that it would read now.

    Args:
        before: of run.json; None for a run that was saved without one.
        now: of the dataset as it is configured now.

    Returns:
        A sentence for each difference; none where the bytes are the same, wherever they lie.
    """
    if before is None:
        return []
    if "files" not in before or "files" not in now:
        keys = [key for key in ("made_by", "seed") if before.get(key) != now.get(key)]
        return [f"the data's {key} was {before.get(key)} and is {now.get(key)}" for key in keys]
    old: Sequence[Mapping[str, Any]] = before["files"]
    new: Sequence[Mapping[str, Any]] = now["files"]
    changes = [_compare(a, b) for a, b in zip(old, new, strict=False) if a["sha256"] != b["sha256"]]
    changes += [f"{a['path']} was read too, and is gone" for a in old[len(new) :]]
    return changes + [f"{b['path']} is new" for b in new[len(old) :]]


def _compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in what two files, or folders, differ."""
    what = f"{new['path']} is not what was trained on"
    if old["path"] != new["path"]:
        what += f", {old['path']}"
    if old.get("files") != new.get("files"):
        return f"{what}: it had {old.get('files', 1)} files and has {new.get('files', 1)}"
    if old["bytes"] != new["bytes"]:
        return f"{what}: it had {old['bytes']:,} bytes and has {new['bytes']:,}"
    return f"{what}: it has as many bytes, {new['bytes']:,}, and others"
