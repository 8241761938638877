"""dlx's own launchers and sweepers, known to Hydra when they are chosen.

Hydra builds plugins of the package `hydra_plugins` alone, which an application has no share in. So each of ours has a
name there, `hydra_plugins.dlx.NAME`, which `conf/hydra/launcher` and `conf/hydra/sweeper` give as their `_target_`.
"""

import importlib

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

PACKAGE = "hydra_plugins.dlx."
PLUGINS = {  # the name after PACKAGE, and where its class is
    "Processes": "dlx.sweeps.processes.Processes",
    "Vectorized": "dlx.sweeps.vectorized.launcher.Vectorized",
    "Optuna": "dlx.sweeps.sweeper.OptunaSweeper",
}


def register(hydra: DictConfig) -> None:
    """Make the launcher and the sweeper that a configuration names known to Hydra, where they are ours.

    Args:
        hydra: Hydra's own node of the configuration.
    """
    for part in (hydra.launcher, hydra.sweeper):
        name = str(part.get("_target_"))
        place = PLUGINS.get(name.removeprefix(PACKAGE))
        if name.startswith(PACKAGE) and place:
            module, _, kind = place.rpartition(".")
            Plugins.instance().class_name_to_class[name] = getattr(importlib.import_module(module), kind)


def goes_on(hydra: DictConfig) -> bool:
    """Whether the sweeper goes on with what its directory holds."""
    return str(hydra.sweeper.get("_target_")) == f"{PACKAGE}Optuna"
