"""Compose the configurations of a sweep's jobs: once for each choice of groups, after which only numbers are set.

Composing takes Hydra 44 ms, and happens twice for each job: by the sweeper, which checks that it is possible, and by
the launcher. Setting a number takes 1 ms.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dlx.config.compose import allow_own_packages
from dlx.config.hydra_internals import apply_overrides, get_override_dirname, get_raw_value
from dlx.vectorized.jobs import PlannedJob, use_hydra_config

Key = tuple[str, ...]
PER_JOB_KEYS = ("job", "overrides", "runtime")  # keys of Hydra's node that differ from job to job


class SweepComposer:
    """A replacement for a loader's `load_sweep_config`, which also plans the launcher's jobs.

    Args:
        loader: Hydra's.
        own: the user's own modules, whose classes may be built.
    """

    def __init__(self, loader: ConfigLoader, own: Sequence[str]) -> None:
        self.own = own
        self.compose_full = loader.load_sweep_config
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.bases: dict[Key, ComposedBase] = {}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose as `ConfigLoader.load_sweep_config` does, for a sweeper that checks that it is possible."""
        return self._get_base(master_config, sweep_overrides).full

    def plan_job(self, master: DictConfig, words: Sequence[str], number: int) -> PlannedJob:
        """Plan a job with these overrides.

        Args:
            master: the sweep's own configuration.
            words: the overrides.
            number: the job's number.
        """

        def compose_full() -> DictConfig:
            return self.compose_full(master, list(words))

        base = self._get_base(master, words)
        return base.plan_job([self._parse(word) for word in words], number, compose_full)

    def _get_base(self, master: DictConfig, words: Sequence[str]) -> "ComposedBase":
        """Return the configuration with the same choices, composed when it is first asked for."""
        groups = {str(group) for group in master.hydra.runtime.choices}
        overrides = [self._parse(word) for word in words]
        pairs = zip(words, overrides, strict=True)
        key = tuple(
            word if _needs_composing(override, groups) else str(override.key_or_group) for word, override in pairs
        )
        if key not in self.bases:
            full = self.compose_full(master, list(words))
            allow_own_packages(full, self.own)
            self.bases[key] = ComposedBase(full, overrides)
        return self.bases[key]

    def _parse(self, word: str) -> Override:
        """Parse an override, once."""
        if word not in self.parsed:
            (self.parsed[word],) = self.parser.parse_overrides([word])
        return self.parsed[word]


class ComposedBase:
    """A composed configuration, which is changed into each job's in turn.

    Args:
        full: the configuration with Hydra's node.
        overrides: the overrides that it was composed from.
    """

    def __init__(self, full: DictConfig, overrides: Sequence[Override]) -> None:
        self.full, self.overrides = full, list(overrides)
        self.raw = {str(key): _to_container(full, str(key), False) for key in full if key != "hydra"}
        self.hydra = {str(key): _to_container(full.hydra, str(key), False) for key in full.hydra}
        self.choices = dict(full.hydra.runtime.choices)
        with use_hydra_config(full):
            self.resolved = {key: _to_container(full, key, True) for key in self.raw}

    def plan_job(self, overrides: Sequence[Override], number: int, compose_full: Any) -> PlannedJob:
        """Plan the job with these overrides, which differ in values only."""
        full, hydra = self.full, self.full.hydra
        pairs = zip(overrides, self.overrides, strict=True)
        changed = [new for new, old in pairs if new.input_line != old.input_line]
        self.overrides = list(overrides)
        with read_write(full), open_dict(full), read_write(hydra), open_dict(hydra), use_hydra_config(full):
            apply_overrides(changed, full)
            self._set_hydra_node(hydra, overrides, number)
            OmegaConf.get_cache(full).pop("run_id", None)  # cached by the text `${hydra.job.num}`, not by its value
            directory = f"{hydra.sweep.dir}/{hydra.sweep.subdir}"
            for key in self._find_changed_keys(changed):
                self.raw[key], self.resolved[key] = _to_container(full, key, False), _to_container(full, key, True)
            for key in PER_JOB_KEYS:
                self.hydra[key] = _to_container(hydra, key, False)
        words = [str(o.input_line) for o in overrides if not _is_hydra_override(o)]
        return PlannedJob(
            number, words, directory, {**self.resolved}, {**self.raw}, {**self.hydra}, self.choices, compose_full
        )

    def _set_hydra_node(self, hydra: DictConfig, overrides: Sequence[Override], number: int) -> None:
        """Set what Hydra notes of a job in its node: number and overrides."""
        own = [override for override in overrides if not _is_hydra_override(override)]
        style = hydra.job.config.override_dirname
        hydra.overrides.task = [override.input_line for override in own]
        hydra.job.override_dirname = get_override_dirname(
            overrides=own, kv_sep=style.kv_sep, item_sep=style.item_sep, exclude_keys=list(style.exclude_keys)
        )
        hydra.job.id = hydra.job.num = number

    def _find_changed_keys(self, changed: Sequence[Override]) -> set[str]:
        """Return the top-level keys whose value may have changed: they hold a changed key, or refer to one."""
        names = {override.key_or_group.split(".")[-1] for override in changed}
        keys = {override.key_or_group.split(".")[0] for override in changed}
        for key, raw in self.raw.items():
            referred = {word for text in re.findall(r"\$\{[^}]*", repr(raw)) for word in re.findall(r"\w+", text)}
            if referred & names:
                keys.add(key)
        return keys


def _to_container(node: DictConfig, key: str, resolve: bool) -> Any:
    """Return a node's value as plain Python values."""
    if not resolve and OmegaConf.is_interpolation(node, key):
        return get_raw_value(node, key)
    value = node[key] if not OmegaConf.is_missing(node, key) else "???"
    if isinstance(value, Enum):
        return value.name
    return OmegaConf.to_container(value, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(value) else value


def _is_hydra_override(override: Override) -> bool:
    """Whether an override concerns Hydra's own node."""
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def _needs_composing(override: Override, groups: set[str]) -> bool:
    """Whether an override needs composing, or only sets a value afterwards."""
    sets_value = not (override.is_delete() or override.is_add())
    return (
        not sets_value
        or override.key_or_group in groups
        or _is_hydra_override(override)
        or isinstance(override.value(), Mapping)
    )


def install_composer(loader: ConfigLoader, own: Sequence[str]) -> SweepComposer:
    """Let a loader compose quickly, for the sweeper that asks before the launcher too."""
    if not isinstance(loader.load_sweep_config, SweepComposer):
        loader.load_sweep_config = SweepComposer(loader, own)  # type: ignore[method-assign]
    return loader.load_sweep_config
