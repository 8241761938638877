"""Where configuration files are found: dlx's own, the user's `./conf`, and `--config-dir`.

The user's files are searched first, so that `./conf/optimizer/adam.yaml` replaces ours, and the working directory is
on `sys.path`, so that `_target_: mine.Net` finds `./mine.py`.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dlx.config.trusted import is_trusted
from dlx.errors import UsageError

GROUPS = (
    "task",
    "procedure",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
    "dataset",
    "model",
    "experiment",
)
MULTIPLE_GROUPS = ("callbacks", "logger")  # several may be chosen: logger=[tensorboard,csv]; each has a key of its own
# Keys of the root that are no group.
ROOT_KEYS = ("seed", "allow", "pretrained", "freeze", "published")
_TARGET = re.compile(r"""(?:^[\s\-]*|[{,]\s*)_target_\s*:\s*["']?(\w+)\.""", re.MULTILINE)


def pluralize(group: str) -> str:
    """Return the name by which all of a group are listed: `models`; `callbacks` is one already."""
    return group if group.endswith("s") else f"{group}s"


class SearchPath(NamedTuple):
    """Directories of configuration files and the name of the primary one."""

    main: Path
    user: tuple[Path, ...] = ()  # the user's, searched before `main`, in this order
    config_name: str = "config"

    @property
    def directories(self) -> tuple[Path, ...]:
        """All directories, in the order of the search."""
        return (*self.user, self.main)

    def find_file(self, config_path: str) -> Path | None:
        """Return the file of a configuration such as `model/mlp`: the first that is found, None if there is none."""
        for folder in self.directories:
            for suffix in (".yaml", ".yml"):
                if (file := folder / f"{config_path.removesuffix(suffix)}{suffix}").is_file():
                    return file
        return None


def find_search_path(
    config_dir: str | None = None, config_path: str | None = None, config_name: str | None = None
) -> SearchPath:
    """Return the search path for the working directory and the options of Hydra's command line.

    Raises:
        UsageError: a directory given as an option does not exist.
    """
    main = find_packaged_conf() if config_path is None else _check_directory("--config-path", config_path)
    given = [] if config_dir is None else [_check_directory("--config-dir", config_dir)]
    local = Path.cwd() / "conf"
    folders = [*given, local] if local.is_dir() else given
    user = tuple(folder for folder in dict.fromkeys(path.resolve() for path in folders) if folder != main)
    return SearchPath(main, user, config_name or "config")


def find_packaged_conf() -> Path:
    """Return dlx's own directory: `dlx/conf` where it was installed from a wheel, `conf` beside `dlx` in a checkout."""
    here = Path(__file__).resolve().parent.parent  # dlx
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def _check_directory(option: str, given: str) -> Path:
    path = Path(given).resolve()
    if not path.is_dir():
        raise UsageError(f"{option} {given} was given; needed: a directory of configuration files; there is no {path}")
    return path


def add_cwd_to_sys_path(typed: Sequence[str] = ()) -> None:
    """Put a trusted working directory on `sys.path`, last: a `./random.py` must not replace Python's own.

    One that is not trusted stays away: a library that asks for an optional module would find the stranger's.

    Args:
        typed: modules that the user typed in `allow`: where they lie here, the directory is trusted this once.
    """
    here = str(Path.cwd())
    if not is_trusted() and not any(_is_module(name) for name in typed):
        return
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def list_own_packages() -> list[str]:
    """List the modules of the working directory that the user's own `./conf` names in a `_target_`: they are trusted.

    A run directory written by somebody else adds nothing to them, nor does a working directory that is not trusted.
    """
    return _list_named_modules() if is_trusted() else []


def list_typed_packages(overrides: Sequence[str]) -> list[str]:
    """List the packages that `allow=[a,b]` names among the words of a command line."""
    given = [word.partition("=")[2] for word in overrides if word.lstrip("+").partition("=")[0] == "allow"]
    return re.findall(r"\w+", given[-1]) if given else []


def explain_own_module(name: str) -> str:
    """Return what to type where a module lies in a working directory that is not trusted; else nothing."""
    return "type dlx trust . if you trust this directory's code" if not is_trusted() and _is_module(name) else ""


def _is_module(name: str) -> bool:
    return name.isidentifier() and (Path(f"{name}.py").is_file() or Path(name).is_dir())


def list_own_keys() -> list[str]:
    """List the keys that the files of a trusted working directory's `./conf` add to the root."""
    folder = Path.cwd() / "conf"
    if not folder.is_dir() or not is_trusted():
        return []
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in folder.rglob("*.y*ml"))
    return sorted({key for text in texts for key in re.findall(r"^(\w+):", text, re.MULTILINE)})


def _list_named_modules() -> list[str]:
    folder = Path.cwd() / "conf"
    if not folder.is_dir() or folder.resolve() == find_packaged_conf():
        return []
    packages: set[str] = set()
    for file in folder.rglob("*.y*ml"):
        packages.update(_TARGET.findall(file.read_text(encoding="utf-8", errors="replace")))
    return sorted(name for name in packages if _is_module(name))


_user_directories: tuple[Path, ...] = ()  # what the plugin below adds; empty outside `use_search_path`


@contextmanager
def use_search_path(search_path: SearchPath) -> Iterator[None]:
    """Have Hydra look into the user's directories before `main`.

    Hydra's own --config-dir is searched *after* the application's files: it could add to them and replace none.
    """
    global _user_directories
    _register_search_plugin()
    before, _user_directories = _user_directories, search_path.user
    try:
        yield
    finally:
        _user_directories = before


@cache
def _register_search_plugin() -> None:
    from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class OwnFiles(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for folder in _user_directories:
                search_path.prepend("own", f"file://{folder}", SearchPathQuery(provider="main", path=None))

    Plugins.instance().register(OwnFiles)
