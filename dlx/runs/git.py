"""Ask git for the commit of the working directory, without running what the repository's configuration names."""

import os
import subprocess
from functools import cache

# A repository that somebody else packed brings its own configuration: programs that git would run on its files.
OFF = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.sshCommand": "false",
    "core.pager": "cat",
    "protocol.allow": "never",
    "submodule.recurse": "false",
}
# Nothing is fetched, nothing is asked, and the index is not written.
ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


def get_git_commit() -> str | None:
    """Return the commit of the working directory, with a `+` where files differ from it; None outside a checkout.

    Files that git does not know, and changes within submodules, do not count. Read once per process: the code that runs
    is the code that was loaded.
    """
    return _read_git_commit(os.getcwd())


@cache
def _read_git_commit(directory: str) -> str | None:
    try:
        commit = _ask(directory, OFF, "rev-parse", "--short=12", "--verify", "HEAD").strip()
        off = {**OFF, **_list_filters(directory)}
        changed = _ask(directory, off, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return f"{commit}{'+' if changed else ''}" if commit else None


def _list_filters(directory: str) -> dict[str, str]:
    """Return settings that switch off the filters which a repository defines: they would run on changed files."""
    try:
        names = _ask(directory, OFF, "config", "--name-only", "-z", "--get-regexp", r"^filter\.").split("\0")
    except subprocess.CalledProcessError:  # there are none
        return {}
    drivers = {name.rpartition(".")[0] for name in names if name}
    values = {"clean": "", "smudge": "", "process": "", "required": "false"}
    return {f"{driver}.{key}": value for driver in drivers for key, value in values.items()}


def _ask(directory: str, settings: dict[str, str], *words: str) -> str:
    """Return what git prints, its settings replaced.

    Raises:
        subprocess.SubprocessError: git fails, or takes longer than five seconds.
    """
    # By the environment: a filter's name may hold "=", which -c could not tell from its own.
    env = {**os.environ, **ENVIRONMENT, "GIT_CONFIG_COUNT": str(len(settings))}
    for place, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{place}": key, f"GIT_CONFIG_VALUE_{place}": value}
    result = subprocess.run(
        ["git", "--no-pager", *words], capture_output=True, text=True, timeout=5, check=True, cwd=directory, env=env
    )
    return result.stdout
