"""Check the shape of a `run.json`, whoever wrote it, so that readers need not ask again."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dlx.config.saved_yaml import read_bounded

MOST_BYTES = 2**26


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_float_map(value: Any) -> bool:
    return isinstance(value, dict) and all(one is None or _is_number(one) for one in value.values())


def _is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(one is None or isinstance(one, str) for one in value.values())


def _is_list_of_maps(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_directions(value: Any) -> bool:
    return isinstance(value, dict) and all(one in ("min", "max") for one in value.values() if isinstance(one, str))


def _is_resumed(value: Any) -> bool:
    return _is_list_of_maps(value) and all("time" not in one or _is_time(one["time"]) for one in value)


# What readers rely on; a key that is missing, or null, is not there.
KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "id": (_is_text, "text"),
    "status": (_is_text, "text"),
    "host": (_is_text, "text"),
    "cwd": (_is_text, "text"),
    "command": (_is_text, "text"),
    "git": (_is_text, "text"),
    "model": (_is_text, "text"),
    "dataset": (_is_text, "text"),
    "experiment": (_is_text, "text"),
    "error": (_is_text, "text"),
    "started": (_is_time, "a time, such as 2026-01-31T12:00:00+00:00"),
    "ended": (_is_time, "a time, such as 2026-01-31T12:00:00+00:00"),
    "pid": (_is_count, "a whole number"),
    "step": (_is_count, "a whole number"),
    "epoch": (_is_positive, "a number of at least 0"),
    "seconds": (_is_positive, "a number of at least 0"),
    "metrics": (_is_float_map, "numbers by name"),
    "directions": (_is_directions, "min or max by name"),
    "versions": (_is_text_map, "text by name"),
    "resumed": (_is_resumed, "a list of mappings with a time"),
    "published": (_is_list_of_maps, "a list of mappings"),
    "notes": (_is_text_list, "a list of text"),
    "overrides": (_is_text_list, "a list of text"),
    "data": (lambda value: isinstance(value, dict), "a mapping"),
    "examples": (lambda value: isinstance(value, dict), "a mapping"),
}


def read_about(path: Path) -> dict[str, Any]:
    """Return the content of a run.json.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or not of the shape that dlx writes.
    """
    try:
        content = json.loads(read_bounded(path, MOST_BYTES).decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}; needed: a mapping")
    for key, (is_right, needed) in KEYS.items():
        value = content.get(key)
        if value is not None and not is_right(value):
            raise ValueError(f"{key} is {json.dumps(value)[:40]}; needed: {needed}")
    return content
