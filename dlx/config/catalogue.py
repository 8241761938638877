"""List what there is to choose from: every file of every group on the search path, read as plain YAML.

The registry is the folder. Whether a model fits a dataset is decided from class attributes in source text, so that
`dlx list --fits` answers without building anything.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from dlx.config.search import GROUPS, MULTIPLE_GROUPS, SearchPath
from dlx.config.static.signature import Signature, read_signature
from dlx.config.static.source import NotFound

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INNER = re.compile(r"^\$\{(?P<group>\w+)\.(?P<key>\w+)\}$")
_OVERRIDE = re.compile(r"^override\s+/?(?P<group>[\w/]+)$")


@dataclass(frozen=True)
class Entry:
    """One file of a group, merged over the files in its defaults list."""

    group: str
    name: str
    file: Path
    origin: str  # "built-in" or "user"
    description: str
    node: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)  # group choices that it brings along

    @property
    def target(self) -> str | None:
        """The class that it configures; experiments and an empty scheduler have none."""
        if self.group in MULTIPLE_GROUPS:  # beneath a key of its own
            targets = [own["_target_"] for own in self.node.values() if isinstance(own, dict) and "_target_" in own]
            return targets[0] if targets else None
        return self.node.get("_target_")

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Literal attributes of that class."""
        signature = find_signature(self.target)
        return signature.attributes if signature else {}


def find_signature(target: str | None) -> Signature | None:
    """Return the signature of a `_target_`, None where there is none or it is not found."""
    try:
        return read_signature(target) if target else None
    except NotFound:
        return None


class Catalogue:
    """All groups and entries on a search path.

    Args:
        search_path: where configuration files are looked for.
    """

    def __init__(self, search_path: SearchPath) -> None:
        self.search_path = search_path

    @cached_property
    def defaults(self) -> dict[str, str | list[str] | None]:
        """Each group's choice unless told otherwise, from the primary configuration: a list where it takes several."""
        file = self.search_path.find_file(self.search_path.config_name)
        listed = (read_yaml(file) if file else {}).get("defaults") or []
        pairs = [pair for item in listed if isinstance(item, Mapping) for pair in item.items()]
        return {str(key): value for key, value in pairs if not str(key).startswith("override ")}

    def is_default(self, group: str, name: str) -> bool:
        """Return whether a group's option is chosen unless told otherwise."""
        chosen = self.defaults.get(group)
        return name in chosen if isinstance(chosen, list) else name == chosen

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, dlx's in their order, then what the user added."""
        names = {
            folder.name
            for place in self.search_path.directories
            for folder in place.iterdir()
            if folder.is_dir() and folder.name != "hydra" and any(folder.rglob("*.y*ml"))
        }
        return (*(group for group in GROUPS if group in names), *sorted(names - set(GROUPS)))

    def names(self, group: str) -> list[str]:
        """Return the options of a group, sorted."""
        return sorted({name for name, _ in self._iter_files(group)})

    def entries(self, group: str) -> list[Entry]:
        """Return the entries of a group, sorted by name."""
        return [entry for name in self.names(group) if (entry := self.entry(group, name))]

    @cache  # noqa: B019 - a catalogue lives as long as one command
    def entry(self, group: str, name: str) -> Entry | None:
        """Return one entry, the user's rather than a built-in one of the same name; None where there is none."""
        file = next((file for known, file in self._iter_files(group) if known == name), None)
        if file is None:
            return None
        origin = "built-in" if file.is_relative_to(self.search_path.main) else "user"
        node, overrides = self._merge_defaults(group, file)
        return Entry(
            group, name, file, origin, read_description(file), _resolve_interpolations(node, group, node), overrides
        )

    def read_published(self, experiment: str, depth: int = 0) -> list[Any]:
        """Return the figures that an experiment's file names under `published`, or a file in its defaults list."""
        file = self.search_path.find_file(f"experiment/{experiment}")
        content = read_yaml(file) if file else {}
        if isinstance(content.get("published"), list):
            return list(content["published"])
        bases = [_parse_default("experiment", item)[0] for item in content.get("defaults") or []]
        for base in reversed([base for base in bases if base and base.startswith("experiment/")] if depth < 20 else []):
            if found := self.read_published(base.removeprefix("experiment/"), depth + 1):
                return found
        return []

    def _iter_files(self, group: str) -> Iterator[tuple[str, Path]]:
        for place in self.search_path.directories:
            for file in sorted((place / group).rglob("*.y*ml")):
                yield file.relative_to(place / group).with_suffix("").as_posix(), file

    def _merge_defaults(self, group: str, file: Path, depth: int = 0) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a file's node and group choices, merged over those of the files in its defaults list."""
        content = read_yaml(file)
        listed = content.pop("defaults", None) or []
        node: dict[str, Any] = {}
        overrides: dict[str, str] = {}
        for item in listed if depth < 20 else []:
            base, choice = _parse_default(group, item)
            overrides |= choice
            if base and (below := self.search_path.find_file(base)):
                inner, choices = self._merge_defaults(group, below, depth + 1)
                node, overrides = {**node, **inner}, {**choices, **overrides}
        own = content.get(group, {}) if _is_global_package(file) else content
        return {**node, **(own if isinstance(own, dict) else {})}, overrides

    def choose_task(self, model: Entry, dataset: Entry) -> Entry | None:
        """Return the task of a model on a dataset: the model's, else the dataset's, else the default."""
        name = model.overrides.get("task") or dataset.overrides.get("task") or self.defaults.get("task")
        return self.entry("task", str(name)) if name else None

    def fits(self, model: Entry, dataset: Entry) -> bool:
        """Return whether a model can be trained on a dataset, as far as text tells."""
        task = self.choose_task(model, dataset)
        return accepts_dataset(model.attributes, dataset.attributes, dataset.node) and (
            task is None
            or (
                provides_targets(task.attributes.get("needs"), dataset.node)
                and supports_task(model.node, task.attributes)
            )
        )

    def list_fitting(self, group: str, model: Entry | None = None, dataset: Entry | None = None) -> list[Entry]:
        """List the models that fit a dataset, or the datasets that fit a model."""
        if group == "model" and dataset is not None:
            return [entry for entry in self.entries("model") if self.fits(entry, dataset)]
        if group == "dataset" and model is not None:
            return [entry for entry in self.entries("dataset") if self.fits(model, entry)]
        return self.entries(group)


def accepts_dataset(model: Mapping[str, Any], dataset: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Return whether a model takes examples of a dataset's kind and size; what is not declared counts as fitting.

    Args:
        model: attributes of the model's class; `accepts` names kinds, `min_size` is an image's least height and width.
        dataset: attributes of the dataset's class.
        node: the dataset's configuration.
    """
    kinds, kind = model.get("accepts"), dataset.get("kind")
    if kinds is not None and kind is not None and kind not in ((kinds,) if isinstance(kinds, str) else kinds):
        return False
    least, shape = model.get("min_size"), node.get("shape")
    if isinstance(least, int) and kind == "image" and isinstance(shape, list):
        return all(size >= least for size in shape[1:] if isinstance(size, int))
    return True


def provides_targets(needs: str | None, dataset: Mapping[str, Any]) -> bool:
    """Return whether a dataset has the targets that a task needs; true where they are known only after loading."""
    if needs is None or dataset.get("shape") is None:
        return True
    has_classes = dataset.get("classes") is not None
    return has_classes if needs == "classes" else not has_classes and dataset.get("outputs") is not None


def supports_task(model: Mapping[str, Any], task: Mapping[str, Any]) -> bool:
    """Return whether a model supports what a task asks for, as far as text tells.

    Args:
        model: its configuration.
        task: attributes of the task's class; `asks` names a method that the model must have, such as `steps`, and
            `forwards` says that it must not read sequences from both ends.
    """
    if task.get("forwards") and model.get("bidirectional"):
        return False
    method = task.get("asks")
    signature = find_signature(model.get("_target_")) if method else None
    return signature is None or signature.has_method(str(method))


def read_yaml(file: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; empty where there is none or it is unreadable (Hydra says why when chosen)."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def read_description(file: Path) -> str:
    """Return the first comment of a file, `@package` lines left out."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.strip()
        if text.startswith("#") and not text.lstrip("# ").startswith("@package"):
            return text.lstrip("# ").rstrip()
        if text and not text.startswith("#"):
            break
    return ""


def _resolve_interpolations(value: Any, group: str, node: Mapping[str, Any]) -> Any:
    """Replace `${dataset.size}` within the dataset itself; interpolations that refer elsewhere stay."""
    if isinstance(value, dict):
        return {key: _resolve_interpolations(entry, group, node) for key, entry in value.items()}
    if isinstance(value, list):
        return [_resolve_interpolations(entry, group, node) for entry in value]
    inner = _INNER.match(value) if isinstance(value, str) else None
    return node.get(inner["key"], value) if inner and inner["group"] == group else value


def _is_global_package(file: Path) -> bool:
    head = file.read_text(encoding="utf-8", errors="replace")[:400]
    return re.search(r"^#\s*@package\s+_global_\s*$", head, re.MULTILINE) is not None


def _parse_default(group: str, item: Any) -> tuple[str | None, dict[str, str]]:
    """Parse an item of a defaults list: the file that it merges, or the group choice that it overrides."""
    if isinstance(item, str):
        return (None, {}) if item == "_self_" else (item[1:] if item.startswith("/") else f"{group}/{item}", {})
    if isinstance(item, Mapping) and len(item) == 1:
        key, value = next(iter(item.items()))
        if override := _OVERRIDE.match(str(key)):
            return None, {override["group"]: f"[{','.join(map(str, value))}]" if isinstance(value, list) else value}
        if str(key).startswith("/") and isinstance(value, str):
            return f"{str(key)[1:]}/{value}", {}
    return None, {}
