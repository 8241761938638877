"""Where configuration files are found: dlx's own, the user's `./conf`, and `--config-dir`.

The user's files are searched first, so that `./conf/optimizer/adam.yaml` replaces ours, and the working directory is
on `sys.path`, so that `_target_: mine.Net` finds `./mine.py`.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dlx.errors import UsageError

GROUPS = ("task", "procedure", "optimizer", "scheduler", "trainer", "dataset", "model", "experiment")
_TARGET = re.compile(r"""^[\s\-]*_target_\s*:\s*["']?(\w+)\.""", re.MULTILINE)


class Places(NamedTuple):
    """Directories of configuration files and the name of the primary one."""

    main: Path
    own: tuple[Path, ...] = ()  # the user's, searched before `main`, in this order
    name: str = "config"

    @property
    def all(self) -> tuple[Path, ...]:
        """In the order of the search."""
        return (*self.own, self.main)

    def file(self, config_path: str) -> Path | None:
        """The file of `model/mlp`: the first that is found."""
        for folder in self.all:
            for suffix in (".yaml", ".yml"):
                if (file := folder / f"{config_path.removesuffix(suffix)}{suffix}").is_file():
                    return file
        return None


def places(config_dir: str | None = None, config_path: str | None = None, config_name: str | None = None) -> Places:
    """The search path for the working directory and the options of Hydra's command line.

    Raises:
        UsageError: a directory that was asked for is not there.
    """
    main = packaged() if config_path is None else _directory("--config-path", config_path)
    asked = [] if config_dir is None else [_directory("--config-dir", config_dir)]
    local = Path.cwd() / "conf"
    found = [*asked, local] if local.is_dir() else asked
    own = tuple(folder for folder in dict.fromkeys(path.resolve() for path in found) if folder != main)
    return Places(main, own, config_name or "config")


def packaged() -> Path:
    """dlx's own files: `dlx/conf` where it was installed from a wheel, `conf` beside `dlx` in a checkout."""
    here = Path(__file__).resolve().parent.parent  # dlx
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def _directory(option: str, given: str) -> Path:
    path = Path(given).resolve()
    if not path.is_dir():
        raise UsageError(f"{option} {given} was given; needed: a directory of configuration files; there is no {path}")
    return path


def import_from_here() -> None:
    """Put the working directory on `sys.path`, last: a `./random.py` must not replace Python's own."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def own_packages() -> list[str]:
    """Modules of the working directory that the user's own `./conf` names as a `_target_`: trusted, as the user's.

    A run directory that somebody else wrote adds nothing to them.
    """
    folder = Path.cwd() / "conf"
    if not folder.is_dir() or folder.resolve() == packaged():
        return []
    named: set[str] = set()
    for file in folder.rglob("*.y*ml"):
        named.update(_TARGET.findall(file.read_text(encoding="utf-8", errors="replace")))
    return sorted(name for name in named if Path(f"{name}.py").is_file() or Path(name).is_dir())


_searched: tuple[Path, ...] = ()  # what the plugin below adds; empty outside `searching`


@contextmanager
def searching(where: Places) -> Iterator[None]:
    """Have Hydra look into the user's directories before `main`.

    Hydra's own --config-dir is searched *after* the application's files: it could add to them and replace none.
    """
    global _searched
    _plug_in()
    before, _searched = _searched, where.own
    try:
        yield
    finally:
        _searched = before


@cache
def _plug_in() -> None:
    from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class OwnFiles(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for folder in _searched:
                search_path.prepend("own", f"file://{folder}", SearchPathQuery(provider="main", path=None))

    Plugins.instance().register(OwnFiles)
