"""Read the YAML that somebody else may have written: bounded, without interpolations, never an endless one."""

import re
from pathlib import Path
from typing import Any

import yaml

from dlx.config.hydra_internals import get_omegaconf_loader
from dlx.errors import UsageError

MOST_BYTES = 2**20  # our own have a few thousand
MOST_DEPTH = 50
MOST_NODES = 100_000  # aliases unfolded: a few lines of them can stand for more than any memory holds


def read_yaml(path: Path, interpolations: bool = False) -> Any:
    """Return the plain content of a file.

    Args:
        path: of a regular file.
        interpolations: whether `${…}` may stand in it; a run's own config.yaml has none, all are resolved.

    Raises:
        UsageError: it cannot be read, is too large, or is no YAML.
    """
    try:
        text = read_bounded(path, MOST_BYTES).decode()
        content = parse_bounded(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UsageError(f"{path} cannot be read ({reason}); needed: the configuration that a run saves") from error
    except (yaml.YAMLError, RecursionError, OverflowError, AttributeError, TypeError) as error:
        what = "; ".join(str(error).splitlines()[:2]) or "empty"
        raise UsageError(f"{path} is not a configuration: {what}") from error
    if not interpolations and (found := _find_interpolation(content)):
        raise UsageError(
            f"{path} has the interpolation {found[:60]}; needed: plain values, as dlx saves them: what it stands for "
            "would be looked up on this machine"
        )
    return content


def read_bounded(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than `most`, or is a pipe or a device, which may never end.
    """
    if not path.exists():
        raise FileNotFoundError(2, "there is no such file", str(path))
    if not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most / 2**20:g} MiB")
    return data


def parse_bounded(text: str) -> Any:
    """Parse YAML as OmegaConf does, after its size with all aliases unfolded is known.

    Raises:
        ValueError: it is too deep, or too large.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
    loader = get_omegaconf_loader()
    root = yaml.compose(text, Loader=loader)
    if root is not None and _count_nodes(root, {}, ()) > MOST_NODES:
        raise ValueError(f"it holds more than {MOST_NODES} values")
    return yaml.load(text, Loader=loader)


def _count_nodes(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Return how many values a node stands for; an alias counts each time."""
    if id(node) in above or len(above) > MOST_DEPTH:
        raise ValueError("it holds itself, or is nested too deeply")
    if id(node) not in known:
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in inner for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count_nodes(part, known, (*above, id(node))) for part in parts)
    return known[id(node)]


def check_references(path: Path, content: Any) -> None:
    """Refuse interpolations that are more than the name of a value elsewhere in the same file, such as `${seed}`.

    Raises:
        UsageError: one of them asks for something else, or they stand for more values than a run's file has.
    """
    try:
        if _count_values(content, content, {}, ()) > MOST_NODES:
            raise ValueError(f"its interpolations stand for more than {MOST_NODES} values")
    except ValueError as error:
        raise UsageError(f"{path} is not a run's configuration: {error}") from error


def _count_values(value: Any, root: Any, known: dict[str, int], above: tuple[str, ...]) -> int:
    """Return how many values a value stands for, its references followed."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return 1 + sum(_count_values(part, root, known, above) for part in parts)
    if not isinstance(value, str) or "${" not in value:
        return 1
    named = re.fullmatch(r"\$\{([\w.]+)\}", value)
    if named is None or value in above or len(above) > MOST_DEPTH:
        raise ValueError(f"the interpolation {value[:60]} is not the name of one of its own values")
    if value not in known:
        place = root
        for key in named[1].split("."):  # what is missing is known once the data is read: ${dataset.shape}
            place = place.get(key) if isinstance(place, dict) else None
        known[value] = _count_values(place, root, known, (*above, value))
    return known[value]


def _find_interpolation(content: Any) -> str | None:
    """Return the first text with an interpolation, None where there is none."""
    if isinstance(content, str):
        return content if "${" in content else None
    parts = [*content, *content.values()] if isinstance(content, dict) else content if isinstance(content, list) else []
    return next((found for part in parts if (found := _find_interpolation(part))), None)
