"""Print `dlx --help`: verbs, options, and the catalogue of configuration groups."""

from collections.abc import Sequence
from importlib import metadata

from dlx.cli.verbs import VERBS
from dlx.config.catalogue import Catalogue
from dlx.config.search import MULTIPLE_GROUPS, add_cwd_to_sys_path, find_search_path
from dlx.terminal.console import print_listing
from dlx.version import __version__

OPTIONS = {
    "-m, --multirun": "run every combination: dlx -m model=mlp,lenet5 seed=range(3)",
    "-c, --cfg job|hydra|all": "show the configuration instead of running; -p PACKAGE for a part of it, --resolve",
    "-i, --info [WHAT]": "Hydra's account: defaults, defaults-tree, config, plugins, searchpath",
    "-cd, --config-dir DIR": "a further directory of configuration files, searched first; ./conf always is",
    "-cn, --config-name NAME": "another primary configuration than config.yaml",
    "-sc, --shell-completion": 'eval "$(dlx -sc install=bash)" (or fish, zsh) completes groups, options and keys',
    "--hydra-help": "Hydra's own options and groups",
    "--version": "versions of dlx and Hydra",
}
EXAMPLES = (
    "dlx train                                             scikit-learn's digits by a small network, in seconds",
    "dlx train model=lenet5 dataset=mnist optimizer.lr=3e-3",
    "dlx -m model=mlp,lenet5 dataset=mnist seed=0,1,2      a sweep",
    "dlx --cfg job model=gan                               every key and its value",
)


def print_help(words: Sequence[str] = ()) -> None:
    """Print verbs, options, and each group's entries with their descriptions, its default marked."""
    directory = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-cd", "--config-dir")), None)
    add_cwd_to_sys_path()
    catalogue = Catalogue(find_search_path(directory))
    print("dlx: any learner of a deep-learning course, by one command\n")
    print("usage: dlx [train] [OPTIONS] [GROUP=NAME …] [KEY=VALUE …]\n       dlx VERB … (dlx VERB --help)\n")
    print_listing("Verbs", VERBS.items())
    print()
    print_listing("Options of train", OPTIONS.items())
    print("\nOne of each group is chosen by GROUP=NAME; * is the default.\n")
    for group in catalogue.groups:
        entries = catalogue.entries(group)
        marks = ["*" if catalogue.is_default(group, entry.name) else " " for entry in entries]
        title = f"{group} (any number: {group}=[a,b])" if group in MULTIPLE_GROUPS else group
        print_listing(title, [(f"{m} {e.name}", e.description) for m, e in zip(marks, entries, strict=True)])
        print()
    print("Examples", *EXAMPLES, sep="\n  ")


def format_version() -> str:
    """Return the versions of dlx and Hydra as one line."""
    return f"dlx {__version__} (hydra {metadata.version('hydra-core')})"
