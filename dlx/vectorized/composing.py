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

from dlx.config.compose import trust_own
from dlx.config.hydra_internals import apply_overrides, override_dirname, raw_value
from dlx.vectorized.jobs import PlannedJob, use_hydra_config

Key = tuple[str, ...]
PER_JOB_KEYS = ("job", "overrides", "runtime")  # of Hydra's node, from job to job


class SweepComposer:
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
        self.bases: dict[Key, ComposedBase] = {}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As `ConfigLoader.load_sweep_config`, for a sweeper that looks whether it can be done."""
        return self._base(master_config, sweep_overrides).full

    def job(self, master: DictConfig, words: Sequence[str], number: int) -> PlannedJob:
        """A job of these overrides.

        Args:
            master: the sweep's own configuration.
            words: the overrides.
            number: of the job.
        """

        def whole() -> DictConfig:
            return self.whole(master, list(words))

        return self._base(master, words).job([self._parse(word) for word in words], number, whole)

    def _base(self, master: DictConfig, words: Sequence[str]) -> "ComposedBase":
        groups = {str(group) for group in master.hydra.runtime.choices}
        overrides = [self._parse(word) for word in words]
        pairs = zip(words, overrides, strict=True)
        key = tuple(
            word if _needs_composing(override, groups) else str(override.key_or_group) for word, override in pairs
        )
        if key not in self.bases:
            full = self.whole(master, list(words))
            trust_own(full, self.own)
            self.bases[key] = ComposedBase(full, overrides)
        return self.bases[key]

    def _parse(self, word: str) -> Override:
        if word not in self.parsed:
            (self.parsed[word],) = self.parser.parse_overrides([word])
        return self.parsed[word]


class ComposedBase:
    """One composed configuration, which becomes each job's in turn.

    Args:
        full: with Hydra's node.
        overrides: that it was composed of.
    """

    def __init__(self, full: DictConfig, overrides: Sequence[Override]) -> None:
        self.full, self.overrides = full, list(overrides)
        self.raw = {str(key): _to_container(full, str(key), False) for key in full if key != "hydra"}
        self.hydra = {str(key): _to_container(full.hydra, str(key), False) for key in full.hydra}
        self.choices = dict(full.hydra.runtime.choices)
        with use_hydra_config(full):
            self.resolved = {key: _to_container(full, key, True) for key in self.raw}

    def job(self, overrides: Sequence[Override], number: int, whole: Any) -> PlannedJob:
        """The job of other values."""
        full, hydra = self.full, self.full.hydra
        pairs = zip(overrides, self.overrides, strict=True)
        changed = [new for new, old in pairs if new.input_line != old.input_line]
        self.overrides = list(overrides)
        with read_write(full), open_dict(full), read_write(hydra), open_dict(hydra), use_hydra_config(full):
            apply_overrides(changed, full)
            self._note(hydra, overrides, number)
            OmegaConf.get_cache(full).pop("run_id", None)  # remembered by `${hydra.job.num}`, not its value
            directory = f"{hydra.sweep.dir}/{hydra.sweep.subdir}"
            for key in self._touched(changed):
                self.raw[key], self.resolved[key] = _to_container(full, key, False), _to_container(full, key, True)
            for key in PER_JOB_KEYS:
                self.hydra[key] = _to_container(hydra, key, False)
        words = [str(o.input_line) for o in overrides if not _is_hydra_override(o)]
        return PlannedJob(
            number, words, directory, {**self.resolved}, {**self.raw}, {**self.hydra}, self.choices, whole
        )

    def _note(self, hydra: DictConfig, overrides: Sequence[Override], number: int) -> None:
        """What Hydra notes of a job's own overrides."""
        own = [override for override in overrides if not _is_hydra_override(override)]
        style = hydra.job.config.override_dirname
        hydra.overrides.task = [override.input_line for override in own]
        hydra.job.override_dirname = override_dirname(
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


def _to_container(node: DictConfig, key: str, resolve: bool) -> Any:
    if not resolve and OmegaConf.is_interpolation(node, key):
        return raw_value(node, key)
    value = node[key] if not OmegaConf.is_missing(node, key) else "???"
    if isinstance(value, Enum):
        return value.name
    return OmegaConf.to_container(value, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(value) else value


def _is_hydra_override(override: Override) -> bool:
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def _needs_composing(override: Override, groups: set[str]) -> bool:
    """Whether an override is part of composing, or more than a value set afterwards."""
    plain = not (override.is_delete() or override.is_add())
    return (
        not plain
        or override.key_or_group in groups
        or _is_hydra_override(override)
        or isinstance(override.value(), Mapping)
    )


def install_composer(loader: ConfigLoader, own: Sequence[str]) -> SweepComposer:
    """Let a loader compose quickly, for the sweeper before us too."""
    if not isinstance(loader.load_sweep_config, SweepComposer):
        loader.load_sweep_config = SweepComposer(loader, own)  # type: ignore[method-assign]
    return loader.load_sweep_config
