"""Reach what Hydra and OmegaConf keep private: the one file to look at when either changes.

Written against Hydra 1.3 and OmegaConf 2.3.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_loader_impl import get_overrides_dirname as get_override_dirname
from hydra._internal.utils import create_config_search_path
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from omegaconf import Container, DictConfig
from omegaconf._utils import get_omega_conf_dumper as get_omegaconf_dumper
from omegaconf._utils import get_yaml_loader as get_omegaconf_loader

__all__ = [
    "Loader",
    "apply_overrides",
    "get_omegaconf_dumper",
    "get_omegaconf_loader",
    "get_override_dirname",
    "get_raw_repr",
    "get_raw_value",
    "is_empty",
    "make_application_parser",
    "register_plugin",
    "run_application",
]


class Loader(ConfigLoaderImpl):
    """Load configurations as Hydra does, remembering the files that each was merged from.

    Args:
        directory: of the primary configuration.
    """

    merged: tuple[tuple[str, str], ...] = ()  # path and package of each, in order

    def __init__(self, directory: Path) -> None:
        super().__init__(create_config_search_path(str(directory)))

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self.merged = tuple((item.config_path, item.package or "") for item in defaults if item.config_path)
        return super()._compose_config_from_defaults_list(defaults, repo)


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """Set values in a composed configuration, as Hydra does after it has merged the files."""
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def get_raw_value(node: DictConfig, key: Any) -> Any:
    """Return a value as it is written, its interpolation unresolved."""
    return node._get_node(key)._value()  # type: ignore[union-attr]


def get_raw_repr(node: Container, key: Any) -> str:
    """Return how a value is written, for a message."""
    return repr(node._get_node(key))


def is_empty(node: Container) -> bool:
    """Return whether a node is null, or still to be given."""
    return node._is_none() or node._is_missing()


def make_application_parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's command line."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def run_application(
    args: argparse.Namespace, parser: argparse.ArgumentParser, function: Callable[..., Any], directory: str, name: str
) -> None:
    """Run a Hydra application: compose, then call `function` once, or once for each job of a multirun."""
    from hydra._internal.utils import _run_hydra

    _run_hydra(args, parser, function, directory, name)


def register_plugin(name: str, kind: type) -> None:
    """Make a launcher or sweeper known to Hydra, which finds by itself only those of the package `hydra_plugins`."""
    Plugins.instance().class_name_to_class[name] = kind
