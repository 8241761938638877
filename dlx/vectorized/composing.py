"""Configurations of a sweep's jobs: composed once for each choice of groups, then only the numbers are set.

Composing takes Hydra 44 ms, and happens twice for each job: by the sweeper, which looks whether it can be done, and by
the launcher. To set a number takes one.
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
from dlx.vectorized.jobs import Planned, current

Key = tuple[str, ...]
CHANGING = ("job", "overrides", "runtime")  # of Hydra's node, from job to job


class Composer:
    """Stands in for a loader's `load_sweep_config`, and makes jobs.

    Args:
        loader: Hydra's.
        own: the user's own modules, which may be built.
    """

    def __init__(self, loader: ConfigLoader, own: Sequence[str]) -> None:
        self.own = own
        self.whole = loader.load_sweep_config
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.bases: dict[Key, Base] = {}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As `ConfigLoader.load_sweep_config`, for a sweeper that looks whether it can be done."""
        return self._base(master_config, sweep_overrides).full

    def job(self, master: DictConfig, words: Sequence[str], number: int) -> Planned:
        """A job of these overrides.

        Args:
            master: the sweep's own configuration.
            words: the overrides.
            number: of the job.
        """

        def whole() -> DictConfig:
            return self.whole(master, list(words))

        return self._base(master, words).job([self._parse(word) for word in words], number, whole)

    def _base(self, master: DictConfig, words: Sequence[str]) -> "Base":
        groups = {str(group) for group in master.hydra.runtime.choices}
        overrides = [self._parse(word) for word in words]
        pairs = zip(words, overrides, strict=True)
        key = tuple(word if _composes(override, groups) else str(override.key_or_group) for word, override in pairs)
        if key not in self.bases:
            full = self.whole(master, list(words))
            allow_own_packages(full, self.own)
            self.bases[key] = Base(full, overrides)
        return self.bases[key]

    def _parse(self, word: str) -> Override:
        if word not in self.parsed:
            (self.parsed[word],) = self.parser.parse_overrides([word])
        return self.parsed[word]


class Base:
    """One composed configuration, which becomes each job's in turn.

    Args:
        full: with Hydra's node.
        overrides: that it was composed of.
    """

    def __init__(self, full: DictConfig, overrides: Sequence[Override]) -> None:
        self.full, self.overrides = full, list(overrides)
        self.raw = {str(key): _container(full, str(key), False) for key in full if key != "hydra"}
        self.hydra = {str(key): _container(full.hydra, str(key), False) for key in full.hydra}
        self.choices = dict(full.hydra.runtime.choices)
        with current(full):
            self.resolved = {key: _container(full, key, True) for key in self.raw}

    def job(self, overrides: Sequence[Override], number: int, whole: Any) -> Planned:
        """The job of other values."""
        full, hydra = self.full, self.full.hydra
        pairs = zip(overrides, self.overrides, strict=True)
        changed = [new for new, old in pairs if new.input_line != old.input_line]
        self.overrides = list(overrides)
        with read_write(full), open_dict(full), read_write(hydra), open_dict(hydra), current(full):
            apply_overrides(changed, full)
            self._note(hydra, overrides, number)
            OmegaConf.get_cache(full).pop("run_id", None)  # remembered by `${hydra.job.num}`, not its value
            directory = f"{hydra.unroll.dir}/{hydra.unroll.subdir}"
            for key in self._touched(changed):
                self.raw[key], self.resolved[key] = _container(full, key, False), _container(full, key, True)
            for key in CHANGING:
                self.hydra[key] = _container(hydra, key, False)
        words = [str(o.input_line) for o in overrides if not _hydras(o)]
        return Planned(number, words, directory, {**self.resolved}, {**self.raw}, {**self.hydra}, self.choices, whole)

    def _note(self, hydra: DictConfig, overrides: Sequence[Override], number: int) -> None:
        """What Hydra notes of a job's own overrides."""
        own = [override for override in overrides if not _hydras(override)]
        style = hydra.job.config.override_dirname
        hydra.overrides.task = [override.input_line for override in own]
        hydra.job.override_dirname = get_override_dirname(
            overrides=own, kv_sep=style.kv_sep, item_sep=style.item_sep, exclude_keys=list(style.exclude_keys)
        )
        hydra.job.id = hydra.job.num = number

    def _touched(self, changed: Sequence[Override]) -> set[str]:
        """Top-level keys that may be other ones now: they hold what changed, or speak of it."""
        names = {override.key_or_group.split(".")[-1] for override in changed}
        found = {override.key_or_group.split(".")[0] for override in changed}
        for key, raw in self.raw.items():
            spoken = {word for text in re.findall(r"\$\{[^}]*", repr(raw)) for word in re.findall(r"\w+", text)}
            if spoken & names:
                found.add(key)
        return found


def _container(node: DictConfig, key: str, resolve: bool) -> Any:
    if not resolve and OmegaConf.is_interpolation(node, key):
        return get_raw_value(node, key)
    value = node[key] if not OmegaConf.is_missing(node, key) else "???"
    if isinstance(value, Enum):
        return value.name
    return OmegaConf.to_container(value, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(value) else value


def _hydras(override: Override) -> bool:
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def _composes(override: Override, groups: set[str]) -> bool:
    """Whether an override is part of composing, or more than a value set afterwards."""
    plain = not (override.is_delete() or override.is_add())
    return not plain or override.key_or_group in groups or _hydras(override) or isinstance(override.value(), Mapping)


def install(loader: ConfigLoader, own: Sequence[str]) -> Composer:
    """Let a loader compose quickly, for the sweeper before us too."""
    if not isinstance(loader.load_sweep_config, Composer):
        loader.load_sweep_config = Composer(loader, own)  # type: ignore[method-assign]
    return loader.load_sweep_config
