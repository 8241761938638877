"""Restrict a saved configuration to trusted code: ours, the libraries', and the user's own, which ./conf names."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from dlx.config.allowed import ALLOWED
from dlx.config.search import add_cwd_to_sys_path, list_own_packages
from dlx.instantiate import check_target
from dlx.runs.rundir import Run
from dlx.runs.saved import flatten, load_config, override_config, parse_overrides


def load_trusted_config(run: Run, overrides: Sequence[str], allowed: Sequence[str], verb: str) -> DictConfig:
    """Load a run's configuration with overrides, which may construct only what the user trusts.

    A run directory is data that may come from anybody, its `allow` included. Trusted are what the user typed and the
    modules that the user's own ./conf names, unless the working directory lies within the run directory itself.

    Args:
        run: its run directory.
        overrides: `key=value`.
        allowed: keys that the overrides may change.
        verb: whose overrides they are, for messages.

    Raises:
        UsageError: as `dlx.runs.saved.override_config`.
    """
    config = override_config(load_config(run), overrides, allowed, verb)
    if verb != "resume":
        config.pop("callbacks", None)  # only training needs them, and their code
    if "logger" not in allowed:
        config.logger = {}  # the verb logs nothing: whoever uses the model needs no logger of the one who trained it
    typed = dict(parse_overrides(overrides)).get("allow") or []
    within = Path.cwd().resolve().is_relative_to(run.directory.resolve())
    config.allow = sorted({*([typed] if isinstance(typed, str) else typed), *([] if within else list_own_packages())})
    if not within:
        add_cwd_to_sys_path()
    for key, target in flatten(config).items():
        # A foreign name is refused before anything heavy is imported; `build` checks what an allowed one resolves to.
        if key.endswith("_target_") and not str(target).startswith(ALLOWED):
            check_target(str(target), list(config.allow))
    return config
