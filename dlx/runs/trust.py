"""Whose code a saved configuration may name: ours, the libraries', and the user's own, which ./conf names."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from dlx.config.allowed import ALLOWED
from dlx.config.search import add_cwd_to_sys_path, list_own_packages
from dlx.instantiate import check_target
from dlx.runs.rundir import Run
from dlx.runs.saved import changed, config_of, flat, parsed


def trusted(run: Run, overrides: Sequence[str], may: Sequence[str], verb: str) -> DictConfig:
    """A run's configuration with overrides, which may construct only what the user trusts.

    A run directory is data that may come from anybody, its `allow` included. What is trusted is what the user typed,
    and the modules that the user's own ./conf names, unless one stands within the run directory itself.

    Args:
        run: where it lies.
        overrides: `key=value`.
        may: keys that they may change.
        verb: whose they are, for messages.

    Raises:
        UsageError: as `dlx.runs.saved.changed`.
    """
    config = changed(config_of(run), overrides, may, verb)
    typed = dict(parsed(overrides)).get("allow") or []
    within = Path.cwd().resolve().is_relative_to(run.directory.resolve())
    config.allow = sorted({*([typed] if isinstance(typed, str) else typed), *([] if within else list_own_packages())})
    if not within:
        add_cwd_to_sys_path()
    for key, target in flat(config).items():
        # A foreign name is told before anything heavy is imported; what an allowed one leads to, `build` looks at.
        if key.endswith("_target_") and not str(target).startswith(ALLOWED):
            check_target(str(target), list(config.allow))
    return config
