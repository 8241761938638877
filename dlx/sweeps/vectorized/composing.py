"""Configurations of a sweep's jobs: composed once for each choice of groups, the numbers set on copies.

Composing takes Hydra 44 ms, and happens twice for each job: by the sweeper, which looks whether it can be done, and by
the launcher. A copy takes three.
"""

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict, read_write

Key = tuple[str, ...]


class Composer:
    """What stands in for a loader's `load_sweep_config`.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self.whole = loader.load_sweep_config
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.known: dict[Key, tuple[DictConfig, list[str]]] = {}  # a configuration, and what it was composed of
        self.ready: dict[Key, DictConfig] = {}  # composed for the sweeper, not yet asked for by the launcher

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As `ConfigLoader.load_sweep_config`."""
        words = tuple(sweep_overrides)
        if words in self.ready:
            return self.ready.pop(words)
        self.ready[words] = made = self._made(master_config, list(words))
        return made

    def _made(self, master: DictConfig, words: list[str]) -> DictConfig:
        overrides = [self._parse(word) for word in words]
        groups = {str(group) for group in master.hydra.runtime.choices}
        key = tuple(w if _composes(o, groups) else str(o.key_or_group) for w, o in zip(words, overrides, strict=True))
        if key not in self.known:
            config = self.whole(master, words)
            self.known[key] = copy.deepcopy(config), words
            return config
        base, before = self.known[key]
        config = copy.deepcopy(base)
        changed = [o for o, word, old in zip(overrides, words, before, strict=True) if word != old]
        with read_write(config), open_dict(config):
            ConfigLoaderImpl._apply_overrides_to_config([o for o in changed if not _hydras(o)], config)
            self._note(config, overrides)
        return config

    def _parse(self, word: str) -> Override:
        if word not in self.parsed:
            (self.parsed[word],) = self.parser.parse_overrides([word])
        return self.parsed[word]

    def _note(self, config: DictConfig, overrides: Sequence[Override]) -> None:
        """What Hydra notes of a job's own overrides."""
        own: list[Any] = [override for override in overrides if not _hydras(override)]
        style = config.hydra.job.config.override_dirname
        config.hydra.overrides.task = [override.input_line for override in own]
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=own, kv_sep=style.kv_sep, item_sep=style.item_sep, exclude_keys=list(style.exclude_keys)
        )


def _hydras(override: Override) -> bool:
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def _composes(override: Override, groups: set[str]) -> bool:
    """Whether an override is part of composing, or more than a value set afterwards."""
    plain = not (override.is_delete() or override.is_add())
    return not plain or override.key_or_group in groups or _hydras(override) or isinstance(override.value(), dict)


def install(loader: ConfigLoader) -> None:
    """Let a loader compose quickly, for the sweeper before us too."""
    if not isinstance(loader.load_sweep_config, Composer):
        loader.load_sweep_config = Composer(loader)  # type: ignore[method-assign]
