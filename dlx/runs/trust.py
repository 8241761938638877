"""Restrict a saved configuration to trusted code: ours, the libraries', and the user's own, which ./conf names."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from dlx.config.allowed import ALLOWED
from dlx.config.search import add_cwd_to_sys_path, list_own_packages
from dlx.errors import UsageError
from dlx.instantiate import check_target
from dlx.runs.rundir import Run
from dlx.runs.saved import flatten, load_config, override_config, parse_overrides
from dlx.terminal import terminal


def load_trusted_config(run: Run, overrides: Sequence[str], allowed: Sequence[str], verb: str) -> DictConfig:
    """Load a run's configuration with overrides, which may construct only what the user trusts.

    A run directory is data that may come from anybody, its `allow` included. Trusted are what the user typed and the
    modules that the user's own ./conf names, unless the working directory lies within the run directory itself. A
    trusted module that is not here is found where the run was started, and so are relative paths of its data.

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
    started = _find_start(run)
    if not within:
        add_cwd_to_sys_path()
        _find_data(config, {key for key, _ in parse_overrides(overrides)}, started)
    for key, target in flatten(config).items():
        # A foreign name is refused before anything heavy is imported; `build` checks what an allowed one resolves to.
        if key.endswith("_target_") and not str(target).startswith(ALLOWED):
            file = _find_module(str(target).split(".")[0], started)
            if file is not None and str(target).split(".")[0] in config.allow:
                terminal.print_note(f"{file.stem} is taken from {file}, where the run was started")
                sys.path.append(str(file.parent))
            try:
                check_target(str(target), list(config.allow))
            except UsageError as error:
                known = f"; its code is {file}, where the run was started" if file else ""
                raise UsageError(f"{error}{known}") from error
    return config


def _find_start(run: Run) -> Path | None:
    """Return the directory in which a run was started; None where it is not here, or lies within the run itself."""
    recorded = run.read().get("cwd")
    if not isinstance(recorded, str) or not Path(recorded).is_dir():
        return None
    within = Path(recorded).resolve().is_relative_to(run.directory.resolve())
    return None if within else Path(recorded)


def _find_module(name: str, started: Path | None) -> Path | None:
    """Return the file or package of a module that only the run's own directory has."""
    if started is None or name in sys.modules or importlib.util.find_spec(name) is not None:
        return None
    return next((path for path in (started / f"{name}.py", started / name) if path.exists()), None)


def _find_data(config: DictConfig, typed: set[str], started: Path | None) -> None:
    """Make relative paths of the data absolute that are not here, and are where the run was started."""
    for name in ("path", "val_path", "test_path"):
        path = config.dataset.get(name)
        if started is None or not isinstance(path, str) or f"dataset.{name}" in typed or Path(path).exists():
            continue
        if (started / path).exists():
            config.dataset[name] = str(started / path)
