"""Shell completion: Hydra's own for overrides, plus the verbs, options and runs that Hydra does not know.

`eval "$(dlx -sc install=bash)"` installs it; the shell then calls `dlx -sc query=bash` at each Tab.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import DictConfig, OmegaConf

from dlx.cli import application
from dlx.cli.commands.list import PLURALS
from dlx.cli.verbs import VERBS
from dlx.errors import UsageError

OVERRIDE_VERBS = ("train", "describe", "info", "check")  # verbs that take overrides first
RUN_VERBS = ("resume", "evaluate", "predict", "sample", "compare", "export", "tensorboard")


def is_query(words: Sequence[str]) -> bool:
    """Tell whether a shell asks for completions."""
    return bool({"-sc", "--shell-completion"} & set(words)) and any(word.startswith("query=") for word in words)


def print_completions(words: Sequence[str]) -> int:
    """Print the words that complete the one at the cursor, one per line."""
    typed = CompletionPlugin.strip_python_or_app_name(os.environ["COMP_LINE"])
    before = typed.split()
    last = "" if typed.endswith(" ") or not before else before.pop()
    verb = before[0] if before and before[0] in VERBS else None
    if last.startswith("-"):
        _print_matching(_list_options(verb), last)
        return 0
    if verb == "list":
        _print_matching(PLURALS, last)
        return 0
    if verb in RUN_VERBS and len(before) == 1:
        _print_matching(["last", *_list_run_ids()], last)
        return 0
    if verb is None and not before:
        _print_matching(VERBS, last)
    elif verb is not None and verb not in (*OVERRIDE_VERBS, "resume", "evaluate"):
        return 0
    overrides = [word for word in before if "=" in word or word in ("-m", "--multirun")]
    if "." in last and "=" not in last:
        _print_matching(_find_unlisted_keys([word for word in overrides if "=" in word], last), last)
    os.environ["COMP_LINE"] = " ".join(["dlx", *overrides, last])
    return application.run(words)


def _find_unlisted_keys(overrides: list[str], last: str) -> list[str]:
    """Return the keys that a constructor accepts but no YAML file lists, as `key=`."""
    from dlx.config.catalogue import find_signature
    from dlx.config.compose import compose
    from dlx.config.keys import get_settable_parameters

    path = last.split(".")[:-1]
    try:
        node = OmegaConf.select(compose(overrides), ".".join(path))
    except UsageError:
        return []
    signature = find_signature(node.get("_target_")) if isinstance(node, DictConfig) else None
    names = get_settable_parameters(tuple(path), signature) if signature else {}
    return [f"{'.'.join(path)}.{name}=" for name in names if name not in node]


def _print_matching(known: Iterable[str], start: str) -> None:
    for name in known:
        if name.startswith(start):
            print(name)


def _list_options(verb: str | None) -> list[str]:
    if verb in (None, "train"):
        return [option for action in application.make_parser()._actions for option in action.option_strings]
    import importlib

    command = importlib.import_module(f"dlx.cli.commands.{verb}").command
    return [option for parameter in command.params for option in parameter.opts if option.startswith("-")]


def _list_run_ids() -> list[str]:
    return sorted({file.parent.name.rsplit("-", 1)[-1] for file in Path("outputs").glob("**/run.json")})
