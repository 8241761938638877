"""What a sweep is asked for, checked and brought into agreement with what its directory holds already."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from dlx.config.report import find_closest
from dlx.errors import UsageError
from dlx.sweeps import objective
from dlx.sweeps.record import TRIALS, Record, read
from dlx.sweeps.space import Numbers, Space, space

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "asha", "hyperband")


def agreed(
    config: DictConfig, words: Sequence[str], directory: Path, parser: OverridesParser | None = None
) -> tuple[Record, Space]:
    """A sweep's settings, those of an earlier call included, and its space. Nothing is written.

    Args:
        config: composed, Hydra's node included.
        words: overrides of the sweep, Hydra's own left out.
        directory: of the sweep.
        parser: knows the groups, for `glob`.

    Raises:
        UsageError: a setting is not good, or the sweep was begun otherwise.
    """
    asked = config.hydra.sweeper
    _check(asked)
    begun = read(directory)
    if begun is None and directory.is_dir() and any(directory.iterdir()):
        raise UsageError(f"{directory} holds something else than a sweep of Optuna's; type another name")
    typed = {word.partition("=")[0] for word in words}
    further = (asked.get("params") or {}).items()
    words = [*(f"{key}={value}" for key, value in further if key not in typed), *words]
    words = words or list(begun.overrides if begun else ())
    searched = space(words, parser)
    record = _record(config, asked, words, searched, begun)
    if record.sampler == "grid" and searched.points is None:
        endless = [one.name for one in searched.dimensions if one.values is None]
        raise UsageError(
            f"--sampler grid was given for {', '.join(endless)}, an interval; needed: values that can be counted; "
            f"type {endless[0]}=1e-3,1e-2,1e-1, or --sampler tpe"
        )
    numbers = [one.name for one in searched.dimensions if isinstance(one, Numbers)]
    if record.sampler == "cmaes" and len(numbers) < 2:
        given = f"for one number, {numbers[0]}" if numbers else "where no number varies"
        raise UsageError(
            f"--sampler cmaes was given {given}; needed: two intervals or ranges (choices are drawn by chance); "
            "type --sampler tpe"
        )
    if record.prune and str(config.hydra.launcher.get("_target_")).endswith(".Vectorized"):
        raise UsageError(
            f"--prune {record.prune} and hydra/launcher=vectorized were given; needed: one of them, as a "
            "stack trains all to their end; leave out --prune, or type --jobs 2 for processes"
        )
    return (record if begun is None else record.going_on(begun, directory)), searched


def _check(asked: Mapping[str, Any]) -> None:
    for name, known in (("sampler", SAMPLERS), ("prune", PRUNERS)):
        value = asked.get(name)
        if value is not None and value not in known:
            near = find_closest(str(value), known)
            hint = f"; did you mean {near}?" if near else ""
            raise UsageError(f"hydra.sweeper.{name}={value} was given; needed: one of {', '.join(known)}{hint}")
    for name, least in (("trials", 1), ("seed", 0), ("batch", 1)):
        value = asked.get(name)
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not good and value is not None and (name, value) != ("batch", "auto"):
            raise UsageError(
                f"hydra.sweeper.{name}={value} was given; needed: a whole number of at least {least}; "
                f"type hydra.sweeper.{name}={TRIALS if name == 'trials' else least}"
            )
    for package in ("optuna", *(["cmaes"] if asked.get("sampler") == "cmaes" else [])):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"sweeps need {package}, which is not installed; type pip install optuna cmaes")


def _record(
    config: DictConfig, asked: Mapping[str, Any], words: Sequence[str], searched: Space, begun: Record | None
) -> Record:
    """What is asked for; what is not said is as it was, or as usual."""
    typed = asked.get("metric")
    if typed is None and begun is not None:
        metric, own, mode = begun.metric, begun.own, begun.mode
    else:
        own, (metric, mode) = typed is None, objective.chosen(config, typed)
    sampler = asked.get("sampler") or (begun.sampler if begun else "tpe")
    usual = begun.trials if begun else searched.runs if sampler == "grid" and searched.runs else TRIALS
    return Record(
        overrides=tuple(words),
        trials=asked.get("trials") or usual,
        metric=metric,
        own=own,
        mode=mode,
        sampler=sampler,
        prune=asked.get("prune") or (begun.prune if begun else None),
        seed=int(asked["seed"]) if asked.get("seed") is not None else begun.seed if begun else 0,
    )
