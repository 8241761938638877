"""A sweep's settings: checked, and reconciled with what its directory holds already."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from dlx.config.report import find_closest
from dlx.errors import UsageError
from dlx.sweeps import objective
from dlx.sweeps.record import DEFAULT_TRIALS, Record, read_record
from dlx.sweeps.space import Numbers, Space, parse_space

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "asha", "hyperband")


def resolve_settings(
    config: DictConfig, overrides: Sequence[str], directory: Path, parser: OverridesParser | None = None
) -> tuple[Record, Space]:
    """Return a sweep's settings, those of an earlier call included, and its search space. Nothing is written.

    Args:
        config: the composed configuration, Hydra's node included.
        overrides: the overrides of the sweep, without Hydra's own.
        directory: of the sweep.
        parser: knows the config groups, for `glob`.

    Raises:
        UsageError: a setting is invalid, or the sweep was begun with other settings.
    """
    sweeper = config.hydra.sweeper
    _check_settings(sweeper)
    earlier = read_record(directory)
    if earlier is None and directory.is_dir() and any(directory.iterdir()):
        raise UsageError(f"{directory} holds something else than a sweep of Optuna's; type another name")
    typed = {word.partition("=")[0] for word in overrides}
    params = (sweeper.get("params") or {}).items()
    overrides = [*(f"{key}={value}" for key, value in params if key not in typed), *overrides]
    overrides = overrides or list(earlier.overrides if earlier else ())
    space = parse_space(overrides, parser)
    record = _make_record(config, sweeper, overrides, space, earlier)
    if record.sampler == "grid" and space.n_points is None:
        uncountable = [one.name for one in space.dimensions if one.values is None]
        raise UsageError(
            f"--sampler grid was given for {', '.join(uncountable)}, an interval; needed: values that can be counted; "
            f"type {uncountable[0]}=1e-3,1e-2,1e-1, or --sampler tpe"
        )
    numbers = [one.name for one in space.dimensions if isinstance(one, Numbers)]
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
    return (record if earlier is None else record.continue_from(earlier, directory)), space


def _check_settings(sweeper: Mapping[str, Any]) -> None:
    """Refuse invalid settings, and those that need a package which is not installed."""
    for name, known in (("sampler", SAMPLERS), ("prune", PRUNERS)):
        value = sweeper.get(name)
        if value is not None and value not in known:
            near = find_closest(str(value), known)
            hint = f"; did you mean {near}?" if near else ""
            raise UsageError(f"hydra.sweeper.{name}={value} was given; needed: one of {', '.join(known)}{hint}")
    for name, lowest in (("trials", 1), ("seed", 0), ("batch", 1)):
        value = sweeper.get(name)
        is_valid = isinstance(value, int) and not isinstance(value, bool) and value >= lowest
        if not is_valid and value is not None and (name, value) != ("batch", "auto"):
            raise UsageError(
                f"hydra.sweeper.{name}={value} was given; needed: a whole number of at least {lowest}; "
                f"type hydra.sweeper.{name}={DEFAULT_TRIALS if name == 'trials' else lowest}"
            )
    for package in ("optuna", *(["cmaes"] if sweeper.get("sampler") == "cmaes" else [])):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"sweeps need {package}, which is not installed; type pip install optuna cmaes")


def _make_record(
    config: DictConfig, sweeper: Mapping[str, Any], overrides: Sequence[str], space: Space, earlier: Record | None
) -> Record:
    """Return the settings as they were typed; one that was not is taken from the earlier record, else the default."""
    typed = sweeper.get("metric")
    if typed is None and earlier is not None:
        metric, own, mode = earlier.metric, earlier.own, earlier.mode
    else:
        own, (metric, mode) = typed is None, objective.choose_metric(config, typed)
    sampler = sweeper.get("sampler") or (earlier.sampler if earlier else "tpe")
    default_trials = (
        earlier.trials if earlier else space.n_runs if sampler == "grid" and space.n_runs else DEFAULT_TRIALS
    )
    return Record(
        overrides=tuple(overrides),
        trials=sweeper.get("trials") or default_trials,
        metric=metric,
        own=own,
        mode=mode,
        sampler=sampler,
        prune=sweeper.get("prune") or (earlier.prune if earlier else None),
        seed=int(sweeper["seed"]) if sweeper.get("seed") is not None else earlier.seed if earlier else 0,
    )
