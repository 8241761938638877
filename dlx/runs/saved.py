"""The configuration of a run that was saved, and the changes that a verb may make to it."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.catalogue import find_signature
from dlx.config.moved import update_config
from dlx.config.static.schema import format_value
from dlx.errors import UsageError
from dlx.runs.rundir import Run

# Where and how long a run computes, and what it tells: nothing of it changes what a step learns.
RUNNING = (
    "allow",
    "dataset.root",
    "dataset.download",
    "trainer.epochs",
    "trainer.max_steps",
    "trainer.device",
    "trainer.strategy",
    "trainer.processes",
    "trainer.compile",
    "trainer.threads",
    "trainer.matmul",
    "trainer.memory",
    "trainer.workers",
    "trainer.validate_every",
    "trainer.evaluate",
    "trainer.patience",
    "trainer.min_delta",
    "trainer.test",
    "trainer.save_every",
    "trainer.pictures_every",
    "trainer.visuals",
    "trainer.logger",
)
LENGTHS = ("trainer.epochs", "trainer.max_steps")
# What a trained model may be looked at with.
LOOKING = ("allow", "dataset", "task", "trainer")


def config_of(run: Run) -> DictConfig:
    """The configuration of a run as it was saved, complete and without interpolations.

    Raises:
        UsageError: there is none, or it is not one.
    """
    path = run.directory / "config.yaml"
    try:
        config = OmegaConf.load(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); needed: the configuration that a run saves") from error
    except Exception as error:  # yaml's own errors have no common base with the others
        raise UsageError(f"{path} is not a configuration: {str(error).splitlines()[0]}") from error
    missing = [name for name in ("dataset", "model", "task", "procedure", "trainer") if name not in config]
    if not isinstance(config, DictConfig) or missing:
        raise UsageError(f"{path} is not a run's configuration; it lacks {', '.join(missing)}")
    updated = update_config(config)
    assert isinstance(updated, DictConfig)
    return updated


def changed(config: DictConfig, overrides: Sequence[str], may: Iterable[str], verb: str) -> DictConfig:
    """A copy of `config` with overrides; keys outside `may` (or below it) must keep their values.

    Args:
        config: as it was saved.
        overrides: `key=value`, in Hydra's grammar.
        may: keys that may change.
        verb: whose overrides they are, for the message.

    Raises:
        UsageError: a mistyped override, a key that is not there, or one that may not change; all of them at once.
    """
    new = copied(config)
    problems = []
    for key, value in parsed(overrides):
        problem = _problem(config, key, value)
        if problem:
            problems.append(problem)
        else:
            OmegaConf.update(new, key, value, force_add=True)
    if problems:
        raise UsageError("\n".join(problems))
    may = tuple(may)
    refused = [
        f"  {key}: {format_value(old)} → {format_value(value)}"
        for key, old, value in differences(config, new)
        if not any(key == name or key.startswith(f"{name}.") for name in may)
    ]
    if refused:
        raise UsageError(
            f"dlx {verb} was given changes that do not fit what was learned:\n" + "\n".join(refused) + "\n"
            f"needed: {', '.join(may)} only; type dlx train … for a new run with the others"
        )
    return new


def stretched(run: Run, config: DictConfig) -> DictConfig:
    """A copy of `config` whose schedule is as long as the run is now, where it was composed to be.

    `config.yaml` holds numbers; that `scheduler.T_max` was `${trainer.epochs}` stands in `.hydra/config.yaml`.

    Args:
        run: where both lie.
        config: with the lengths that it is to have.
    """
    new = copied(config)
    try:
        begun = OmegaConf.load(run.directory / ".hydra" / "config.yaml")
        schedule = OmegaConf.to_container(begun, resolve=False).get("scheduler") or {}  # type: ignore[union-attr]
    except Exception:  # Hydra was told to write none, or somebody did: then nothing is known to follow
        return new
    for key, value in flat(schedule).items():
        followed = str(value).removeprefix("${").removesuffix("}")
        if followed in LENGTHS and OmegaConf.select(new, f"scheduler.{key}") is not None:
            OmegaConf.update(new, f"scheduler.{key}", OmegaConf.select(new, followed))
    return new


def copied(config: DictConfig) -> DictConfig:
    """A copy to be changed; interpolations stay."""
    new = OmegaConf.create(OmegaConf.to_container(config))
    assert isinstance(new, DictConfig)
    return new


def parsed(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Keys and values of overrides.

    Raises:
        UsageError: one of them is not `key=value`, or is a sweep.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    pairs = []
    for given in overrides:
        try:
            override = OverridesParser.create().parse_override(given)
        except HydraException as error:
            raise UsageError(f"{given!r} was given; needed: key=value ({str(error).splitlines()[0]})") from error
        if override.is_delete() or override.is_sweep_override() or "@" in given.split("=")[0]:
            raise UsageError(f"{given!r} was given; needed: key=value, with one value")
        pairs.append((override.key_or_group.replace("/", "."), override.value()))
    return pairs


def _problem(config: DictConfig, key: str, value: Any) -> str | None:
    """What is wrong with a key or its value, None if nothing is."""
    try:
        node = OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        node = None
    if isinstance(node, DictConfig) and not isinstance(value, dict):
        inner = [name for name in ("root", "path", "device", *map(str, node)) if name in node and name[0] != "_"]
        return (
            f"{key}={format_value(value)} was given, which chooses anew; needed: single keys of what the run has, "
            f"such as {'.'.join([key, *inner[:1]])}=…"
        )
    place, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, place) if place else config
    if isinstance(parent, DictConfig) and parent:
        found = find_signature(parent.get("_target_"))
        parameter = found.parameters.get(name) if found else None
        if parameter is not None and not parameter.kind.accepts(value):
            return f"{key}={format_value(value)} was given; needed: {parameter.kind}"
        if parameter is not None or name in parent:
            return None
    close = difflib.get_close_matches(key, flat(config), n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else "; type dlx compare RUN to see its keys"
    return f"{key} is not a key of this run's configuration{hint}"


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of a configuration by their dotted keys; lists are leaves."""
    content: Any = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    leaves: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def differences(old: DictConfig | ListConfig, new: DictConfig | ListConfig) -> list[tuple[str, Any, Any]]:
    """Keys whose values differ, with both values; None for a key that one of them lacks."""
    before, after = flat(old), flat(new)
    keys = dict.fromkeys([*before, *after])
    return [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]
