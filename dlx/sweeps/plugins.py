"""dlx's own launchers and sweepers, registered with Hydra when they are chosen.

Hydra builds plugins of the package `hydra_plugins` only, which belongs to no application. So each of ours has a
name there, `hydra_plugins.dlx.NAME`, which `conf/hydra/launcher` and `conf/hydra/sweeper` give as their `_target_`.
"""

import importlib
import shutil
from typing import Any

from omegaconf import DictConfig

from dlx.config.hydra_internals import register_plugin
from dlx.errors import UsageError

PACKAGE = "hydra_plugins.dlx."
PLUGINS = {  # the name after PACKAGE, and where its class is
    "Processes": "dlx.sweeps.processes.Processes",
    "Vectorized": "dlx.vectorized.launcher.Vectorized",
    "Optuna": "dlx.sweeps.sweeper.OptunaSweeper",
}


def register_plugins(hydra: DictConfig) -> None:
    """Register the launcher and the sweeper that a configuration names with Hydra, where they are ours.

    Args:
        hydra: Hydra's own node of the configuration.
    """
    for part in (hydra.launcher, hydra.sweeper):
        name = str(part.get("_target_"))
        place = PLUGINS.get(name.removeprefix(PACKAGE))
        if name.startswith(PACKAGE) and place:
            module, _, kind = place.rpartition(".")
            register_plugin(name, getattr(importlib.import_module(module), kind))


def check_launcher(hydra: DictConfig) -> None:
    """Refuse a cluster's launcher where there is no cluster, before anything is written.

    Raises:
        UsageError: SLURM's commands are not installed.
    """
    if str(hydra.launcher.get("_target_")).endswith(".SlurmLauncher") and shutil.which("srun") is None:
        raise UsageError(
            "hydra/launcher=submitit_slurm was given, and there is no srun here; needed: a machine of a SLURM cluster; "
            "type hydra/launcher=submitit_local to rehearse it"
        )


def is_resumable(hydra: DictConfig) -> bool:
    """Tell whether the sweeper continues the search that its directory holds."""
    return str(hydra.sweeper.get("_target_")) == f"{PACKAGE}Optuna"


def train_trial(config: DictConfig, hydra: Any) -> dict[str, float]:
    """Train one trial of a search; torch is imported only in the process that does."""
    from dlx.sweeps.trial import run_trial

    return run_trial(config, hydra)
