"""Find where a key of a composed configuration is written: the YAML file and line that had the last word."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path as File
from typing import Any

import yaml

from dlx.config.report import Location
from dlx.config.search import SearchPath

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Path = tuple[str, ...]  # the parts of a dotted key


class Origins:
    """Files and lines of the keys of one configuration, read when the first is asked for.

    Args:
        search_path: where configuration files are looked for.
        files: for each configuration that was merged, in order, its path (`optimizer/adam`) and its package
            (`optimizer`, empty for the root).
    """

    def __init__(self, search_path: SearchPath, files: Iterable[tuple[str, str]]) -> None:
        self.search_path, self.files = search_path, files

    @cached_property
    def _locations(self) -> tuple[dict[Path, Location], dict[str, Location]]:
        """Locations of the keys, and of the defaults lists' choices from a group."""
        keys: dict[Path, Location] = {}
        choices: dict[str, Location] = {}
        for config_path, package in self.files:
            file = self.search_path.find_file(config_path)
            if file is None:
                continue  # Hydra's own, and structured ones
            prefix = tuple(package.split(".")) if package else ()
            for path, line in iter_key_lines(file):
                if path[0] == "defaults":
                    choices.setdefault(path[-1].removeprefix("override ").strip("/"), Location(file, line))
                else:
                    keys[prefix + path] = Location(file, line)
        return keys, choices

    def __getitem__(self, path: Path) -> Location | None:
        """Return where a key is written, or else the node that it lies in."""
        while path:
            if path in self._locations[0]:
                return self._locations[0][path]
            path = path[:-1]
        return None

    def locate_choice(self, group: str) -> Location | None:
        """Return where a defaults list chooses from a group."""
        return self._locations[1].get(group)


def iter_key_lines(file: File) -> Iterator[tuple[Path, int]]:
    """Yield every key of a YAML file and its line, counted from 1."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return
    yield from _iter_node_lines(root, ())


def _iter_node_lines(node: Any, path: Path) -> Iterator[tuple[Path, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _iter_node_lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield (*path, str(place)), value.start_mark.line + 1
            yield from _iter_node_lines(value, (*path, str(place)))
