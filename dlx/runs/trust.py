"""Restrict a saved configuration to trusted code: ours, the libraries', and the user's own, which ./conf names."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dlx.config.allowed import ALLOWED, check_arguments, iter_objects
from dlx.config.search import add_cwd_to_sys_path, explain_own_module, list_own_packages
from dlx.config.trusted import is_trusted
from dlx.errors import UsageError
from dlx.instantiate import check_target
from dlx.runs.rundir import Run
from dlx.runs.saved import load_config, override_config, parse_overrides
from dlx.terminal import terminal


def load_trusted_config(run: Run, overrides: Sequence[str], allowed: Sequence[str], verb: str) -> DictConfig:
    """Load a run's configuration with overrides, which may construct only what the user trusts.

    A run directory is data that may come from anybody, its `allow` included. Trusted are what the user typed and the
    modules that the user's own ./conf names, in a directory where the user has trained. A trusted module that is not
    here is found where the run was started, and so are relative paths of its data.

    Args:
        run: its run directory.
        overrides: `key=value`.
        allowed: keys that the overrides may change.
        verb: whose overrides they are, for messages.

    Raises:
        UsageError: as `dlx.runs.saved.override_config`; what it names is not trusted.
    """
    config = override_config(load_config(run), overrides, allowed, verb)
    if verb == "resume":
        _check_links(run.directory)
    else:
        config.pop("callbacks", None)  # only training needs them, and their code
    if "logger" not in allowed:
        config.logger = {}  # the verb logs nothing: whoever uses the model needs no logger of the one who trained it
    given = dict(parse_overrides(overrides))
    typed = given.get("allow") or []
    typed = [typed] if isinstance(typed, str) else list(typed)
    own = list_own_packages()
    config.allow = sorted({*typed, *own})
    if config.dataset.get("download") and "dataset.download" not in given:
        config.dataset.download = False  # a stranger's run fetches nothing because somebody looks at it
    started = _find_start(run)
    add_cwd_to_sys_path(typed)
    if is_trusted() or not Path.cwd().resolve().is_relative_to(run.directory.resolve()):
        _find_data(config, set(given), started)
    found = list(iter_objects(OmegaConf.to_container(config)))
    for path, node in found:
        check_arguments(path, node, [*typed, *own])
        _check_foreign(str(node["_target_"]), config, started)
    for path, node in found:  # what an allowed name stands for, before anything is built
        if path != ("scheduler",) or node["_target_"]:
            check_target(node["_target_"], list(config.allow), path)
    return config


def _check_foreign(target: str, config: DictConfig, started: Path | None) -> None:
    """Refuse a foreign name before anything heavy is imported; a trusted module is found where the run was started."""
    if target.startswith(ALLOWED):
        return
    top = target.split(".")[0]
    file = _find_module(top, started)
    if file is not None and top in config.allow:
        terminal.print_note(f"{file.stem} is taken from {file}, where the run was started")
        sys.path.append(str(file.parent))
    try:
        check_target(target, list(config.allow))
    except UsageError as error:
        known = f"; its code is {file}, where the run was started" if file else ""
        here = "" if top in config.allow else explain_own_module(top)
        raise UsageError(f"{error}{known}{'; or ' + here if here else ''}") from error


def _check_links(directory: Path) -> None:
    """Refuse to write into a directory whose links, pipes or devices lead elsewhere.

    Raises:
        UsageError: there is one; its path is named.
    """
    for parent, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise UsageError(
                    f"{path} is a link, or no regular file; needed: a run directory of files alone, as what is written "
                    "to it would land elsewhere; replace it by a copy of what it stands for"
                )


def _find_start(run: Run) -> Path | None:
    """Return the directory in which a run was started; None where it is not here, or lies within the run itself."""
    recorded = run.read().get("cwd")
    if not isinstance(recorded, str) or not recorded or "\0" in recorded or not Path(recorded).is_dir():
        return None
    within = Path(recorded).resolve().is_relative_to(run.directory.resolve())
    return None if within else Path(recorded)


def _find_module(name: str, started: Path | None) -> Path | None:
    """Return the file or package of a module that only the run's own directory has."""
    if started is None or not name.isidentifier() or name in sys.modules or importlib.util.find_spec(name) is not None:
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
