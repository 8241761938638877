"""Compare a run that was killed and resumed with one that was not: to the bit, but for the clock."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.conftest import same
from tests.loggers.test_resumed_events import read_events

CLOCK = ("per_second", "seconds")
# What a run is, where and when; and what resuming leaves.
OWN = {"id", "started", "ended", "pid", "host", "command", "cwd", "resumed", "notes", "git", "error", "versions"}
OWN |= {"seconds"}


def list_differences(whole: Path, broken: Path) -> list[str]:
    """Return what differs, [] if nothing does."""
    from dlx.training.checkpoint import load

    found = []
    for name in ("last.pt", "best.pt"):
        one, two = (directory / "checkpoints" / name for directory in (whole, broken))
        if one.exists() != two.exists():
            found.append(f"{name} is there in one alone")
        elif one.exists():
            states = load(one), load(two)
            found += [f"{name}: {key}" for key in states[0] if not same(*(_without_clock(s.get(key)) for s in states))]
    if _read_lines(whole) != _read_lines(broken):
        found.append("metrics.jsonl")
    events = read_events(whole), read_events(broken)
    if events[0] != events[1]:
        odd = Counter(events[0]) - Counter(events[1]), Counter(events[1]) - Counter(events[0])
        found.append(f"event file: missing {[key[:2] for key in odd[0]][:4]}, too many {[k[:2] for k in odd[1]][:4]}")
    about = [json.loads((directory / "run.json").read_text()) for directory in (whole, broken)]
    keys = {key for one in about for key in one} - OWN
    found += [f"run.json: {key}" for key in sorted(keys) if not same(*(_without_clock(one.get(key)) for one in about))]
    figures = [
        {path.name: path.read_bytes() for path in (directory / "figures").glob("*")} for directory in (whole, broken)
    ]
    if figures[0] != figures[1]:
        found.append("figures")
    if left := [path.name for path in broken.rglob("*") if ".new" in path.name or path.name == ".reserve"]:
        found.append(f"left over: {left}")
    return found


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_clock(v) for k, v in value.items() if not any(word in str(k) for word in CLOCK)}
    return value


def _read_lines(directory: Path) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "time" and not any(w in k for w in CLOCK)} for line in lines]
