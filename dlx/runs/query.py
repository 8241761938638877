"""Choose the metric that represents a run, and which way it is better."""

from collections.abc import Iterable, Mapping
from typing import Any

from dlx.errors import UsageError
from dlx.metrics import CATALOGUE, Direction, Metric, find_metric, get_direction, read_directions, require_direction


def choose_key_metric(about: Mapping[str, Any]) -> str | None:
    """Return the metric that represents a run.

    The one that its best model was chosen by; else, of the test, validation or training split, the first of the
    catalogue that has a direction, a run's own before it; else any.

    Args:
        about: the content of run.json.
    """
    metrics: dict[str, float] = about.get("metrics") or {}
    own = read_directions(about)
    chosen = [name.removeprefix("val/best_") for name in metrics if name.startswith("val/best_")]
    for split in ("test/", "val/", "train/"):
        names = [name for name in metrics if name.startswith(split)]
        for last in chosen:
            if split + last in names:
                return split + last
        directed = [name for name in names if get_direction(name, own)]
        if directed or names:
            return min(directed, key=lambda name: _rank(name, own)) if directed else names[0]
    return None


def _rank(tag: str, own: tuple[Metric, ...]) -> int:
    """Return the place of a tag's metric in the catalogue; a run's own come before."""
    found = find_metric(tag, own)
    return CATALOGUE.index(found) if found in CATALOGUE else -1


def resolve_direction(tag: str, typed: Direction | None, runs: Iterable[Mapping[str, Any]]) -> Direction:
    """Return which way a metric of stored runs is better: as typed, as the runs say, or as the catalogue has it.

    Args:
        tag: such as `test/fid`.
        typed: after its name; None for nothing.
        runs: the contents of run.json.

    Raises:
        UsageError: nothing says so, or the runs contradict each other.
    """
    found = find_directions(tag, runs)
    if len(found) > 1 and typed is None:
        raise UsageError(
            f"--best {tag} was given; of some of these runs more is better, of others less; type --best {tag}:min "
            f"or {tag}:max"
        )
    return require_direction("--best", tag, typed, next(iter(found)) if len(found) == 1 else None)


def find_directions(tag: str, runs: Iterable[Mapping[str, Any]]) -> set[Direction]:
    """Return the directions that stored runs, and the catalogue, have for a metric."""
    found = {get_direction(tag, read_directions(about)) for about in runs if tag in (about.get("metrics") or {})}
    return {direction for direction in found if direction is not None}
