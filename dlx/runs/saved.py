"""Load the saved configuration of a run, and apply the changes that a verb may make to it."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.allowed import iter_objects
from dlx.config.catalogue import Catalogue, find_signature
from dlx.config.moved import move_override, update_config
from dlx.config.report import join_names
from dlx.config.saved_yaml import check_references, read_yaml
from dlx.config.search import GROUPS, MULTIPLE_GROUPS, ROOT_KEYS, find_search_path, list_own_keys
from dlx.config.static.schema import format_value
from dlx.errors import UsageError
from dlx.runs.rundir import Run

# What `dlx resume` may change: where and how long a run computes, and what it logs; none of it changes a step's update.
RESUME_KEYS = (
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
    "trainer.flush_every",
    "trainer.log_every",
    "trainer.pictures",
    "logger",
    "callbacks.time_limit",
)
LENGTH_KEYS = ("trainer.epochs", "trainer.max_steps")
# What the verbs that use a trained model may change.
INFERENCE_KEYS = ("allow", "dataset", "task", "trainer")


def load_config(run: Run) -> DictConfig:
    """Load the configuration that a run saved, complete and without interpolations; without it, what Hydra saved.

    Raises:
        UsageError: it is missing, or is no configuration.
    """
    path = run.directory / "config.yaml"
    composed = run.directory / ".hydra" / "config.yaml"
    if not path.exists() and composed.is_file():  # killed between the two, by an earlier dlx
        path = composed
        content = read_yaml(path, interpolations=True)
        check_references(path, content)
    else:
        content = read_yaml(path)
    needed = ("dataset", "model", "task", "procedure", "trainer")
    missing = [name for name in needed if not isinstance(content, dict) or not isinstance(content.get(name), dict)]
    if missing:
        raise UsageError(f"{path} is not a run's configuration; it lacks {', '.join(missing)}")
    wrong = [at for at, node in iter_objects(content) if not isinstance(node["_target_"], str)]
    if wrong:
        raise UsageError(f"{path}: {'.'.join((*wrong[0], '_target_'))} is no text; needed: the dotted name of a class")
    try:
        updated = update_config(OmegaConf.create(content))
    except Exception as error:  # OmegaConf's errors, and those of an older configuration that was altered
        raise UsageError(f"{path} is not a run's configuration: {str(error).splitlines()[0]}") from error
    assert isinstance(updated, DictConfig)
    unknown = [str(key) for key in updated if key not in (*GROUPS, *ROOT_KEYS, *list_own_keys())]
    if unknown:
        raise UsageError(
            f"{path} has {', '.join(unknown[:5])}, which dlx does not know; needed: "
            f"{', '.join((*GROUPS, *ROOT_KEYS))}; remove them from the file, or go where your own ./conf has them"
        )
    return updated


def override_config(config: DictConfig, overrides: Sequence[str], allowed: Iterable[str], verb: str) -> DictConfig:
    """Return a copy of `config` with overrides applied; only keys in `allowed`, and keys below them, may change.

    Args:
        config: as it was saved.
        overrides: `key=value`, in Hydra's grammar.
        allowed: keys that may change.
        verb: whose overrides they are, for the message.

    Raises:
        UsageError: an override is mistyped, a key does not exist, or may not change; all mistakes at once.
    """
    new, allowed = copy_config(config), tuple(allowed)
    problems = []
    for key, value in parse_overrides(overrides):
        if key in MULTIPLE_GROUPS and key in allowed and not isinstance(value, dict):
            new[key], problem = _choose(key, value)
        else:
            problem = _check_override(new, key, value)
            if not problem:
                OmegaConf.update(new, key, value, force_add=True)
        if problem:
            problems.append(problem)
    if problems:
        raise UsageError("\n".join(problems))
    refused = [
        f"  {key}: {format_value(old)} → {format_value(value)}"
        for key, old, value in find_differences(config, new)
        if not any(key == name or key.startswith(f"{name}.") for name in allowed)
    ]
    if refused:
        raise UsageError(
            f"dlx {verb} was given changes that do not fit what was learned:\n" + "\n".join(refused) + "\n"
            f"needed: {', '.join(allowed)} only; type dlx train … for a new run with the others"
        )
    return new


def stretch_schedule(run: Run, config: DictConfig) -> DictConfig:
    """Return a copy of `config` whose schedule follows the run's new length, if it was composed to follow it.

    `config.yaml` holds numbers; that `scheduler.T_max` was `${trainer.epochs}` stands in `.hydra/config.yaml`.

    Args:
        run: its run directory, with both files.
        config: with the new lengths.
    """
    new, before = copy_config(config), load_config(run)
    if all(OmegaConf.select(new, key) == OmegaConf.select(before, key) for key in LENGTH_KEYS):
        return new
    try:
        schedule = read_yaml(run.directory / ".hydra" / "config.yaml", interpolations=True).get("scheduler") or {}
    except Exception:  # Hydra was told to write none, or the file was edited: then it is unknown what follows what
        return new
    for key, value in flatten(schedule).items():
        followed = str(value).removeprefix("${").removesuffix("}")
        if followed in LENGTH_KEYS and OmegaConf.select(new, f"scheduler.{key}") is not None:
            OmegaConf.update(new, f"scheduler.{key}", value)  # resolved, and completed, with the data
    return new


def copy_config(config: DictConfig) -> DictConfig:
    """Return a copy to modify; interpolations stay."""
    new = OmegaConf.create(OmegaConf.to_container(config))
    assert isinstance(new, DictConfig)
    return new


def parse_overrides(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Parse overrides into keys and values.

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


def _choose(group: str, value: Any) -> tuple[dict[str, Any], str | None]:
    """Return the node of a group of which other options are chosen, and what is wrong with one; None if nothing is."""
    catalogue = Catalogue(find_search_path())
    names = value if isinstance(value, list) else [] if value is None else [value]
    entries = {str(name): catalogue.entry(group, str(name)) for name in names}
    known = join_names(catalogue.names(group))
    wrong = [name for name, entry in entries.items() if entry is None]
    problem = f"{group}={wrong[0]} was given; there is no {group} {wrong[0]}; there are {known}" if wrong else None
    return {key: node for entry in entries.values() if entry for key, node in entry.node.items()}, problem


def _check_override(config: DictConfig, key: str, value: Any) -> str | None:
    """Return what is wrong with a key or its value, None if nothing is."""
    if moved := move_override(key, format_value(value)):
        return f"{key} is now {moved[0]}; type {'='.join(moved)}"
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
        signature = find_signature(parent.get("_target_"))
        parameter = signature.parameters.get(name) if signature else None
        if parameter is not None and not parameter.kind.accepts(value):
            return f"{key}={format_value(value)} was given; needed: {parameter.kind}"
        if parameter is not None or name in parent:
            return None
    close = difflib.get_close_matches(key, flatten(config), n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else "; type dlx compare RUN to see its keys"
    return f"{key} is not a key of this run's configuration{hint}"


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a configuration by their dotted keys; lists are leaves."""
    content: Any = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    leaves: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def find_differences(old: DictConfig | ListConfig, new: DictConfig | ListConfig) -> list[tuple[str, Any, Any]]:
    """Return the keys whose values differ, with both values; None for a key that one of them lacks."""
    before, after = flatten(old), flatten(new)
    keys = dict.fromkeys([*before, *after])
    return [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]
