"""Parse the `key=value` words of a command line into group choices, values and sweeps."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from dlx.config.callback_checks import find_built_in
from dlx.config.catalogue import Catalogue
from dlx.config.extras import install_command
from dlx.config.hydra_internals import Loader
from dlx.config.names import find_foreign_option
from dlx.config.report import Location, Problem, find_closest, join_names
from dlx.config.search import GROUPS, MULTIPLE_GROUPS, pluralize

SWEEP_EXAMPLES = {  # what a sweep can be written with, and how
    "log": "log(1e-4,1e-1)",
    "interval": "interval(0,0.5)",
    "choice": "choice(a,b)",
    "range": "range(16,129,16)",
    "int": "int(interval(8,64))",
    "shuffle": "shuffle(a,b)",
    "sort": "sort(a,b)",
    "glob": "glob(*)",
}
SWEEP_ALIASES = {"uniform": "interval", "loguniform": "log", "log_uniform": "log", "logspace": "log", "randint": "int"}


@dataclass
class Word:
    """One override, a word of the command line."""

    text: str
    parsed: Override
    is_group: bool
    options: list[str] = field(default_factory=list)  # what a sweep goes through, or the one value, as text

    @property
    def key(self) -> str:
        """The group or dotted key, without prefix and package."""
        return self.parsed.key_or_group

    @property
    def path(self) -> tuple[str, ...]:
        """The key's parts; `hidden[0]` and `hidden.0` are the same."""
        return tuple(self.key.replace("[", ".").replace("]", "").split("."))

    @property
    def is_sweep(self) -> bool:
        """Whether it takes several values in turn."""
        return self.parsed.is_sweep_override()

    @property
    def is_hydra(self) -> bool:
        """Whether it configures Hydra itself."""
        return self.parsed.is_hydra_override()

    def pick_option(self, number: int) -> str:
        """Return the override with one value of its sweep, `options` taken in turn."""
        if not self.is_sweep:
            return self.text
        return f"{self.parsed.get_key_element()}={self.options[number % len(self.options)]}"


class Options:
    """The files that can be chosen from each group, Hydra's own groups included.

    Args:
        loader: Hydra's.
        primary: name of the primary configuration, which may add to the search path.
        texts: the overrides, which may do so too.
    """

    def __init__(self, loader: Loader, primary: str, texts: Sequence[str] = ()) -> None:
        self.loader, self.primary = loader, primary
        self.further = [text for text in texts if text.startswith("hydra.searchpath=")]
        self.known: dict[str, list[str]] = {}

    def __getitem__(self, group: str) -> list[str]:
        if group not in self.known:
            # Asking the loader would copy its repository each time, for the sake of a further search path.
            ask = partial(self.loader.get_group_options, config_name=self.primary, overrides=self.further)
            self.known[group] = (ask if self.further else self.loader.repository.get_group_options)(
                group, results_filter=ObjectType.CONFIG
            )
        return self.known[group]

    def is_group(self, key: str) -> bool:
        """Return whether a key is a group with options."""
        return "." not in key and bool(self[key])


def parse_overrides(texts: Sequence[str], options: Options, catalogue: Catalogue) -> tuple[list[Word], list[Problem]]:
    """Parse overrides; return the words, and what is wrong with those that cannot be parsed."""
    parser = OverridesParser.create(config_loader=options.loader)
    words, problems = [], []
    for text in texts:
        try:
            parsed = parser.parse_overrides([text])[0]
            word = Word(text, parsed, options.is_group(parsed.key_or_group))
            word.options = _list_options(word)
        except HydraException as error:
            problems.append(_report_unparsable(text, error, catalogue))
        else:
            words.append(word)
    return words, problems


def _list_options(word: Word) -> list[str]:
    if word.parsed.is_discrete_sweep():
        return list(word.parsed.sweep_string_iterator())
    if word.is_sweep:  # interval(a, b): some sweepers draw from it; both ends must be good
        value = word.parsed.value()
        return [str(getattr(value, "start", None)), str(getattr(value, "end", None))]
    return []


def _report_unparsable(text: str, error: HydraException, catalogue: Catalogue) -> Problem:
    if "=" not in text:
        homes = [group for group in catalogue.groups if text in catalogue.names(group)]
        if homes:
            return Problem(text, "a word without a key was given; needed: key=value", f"type {homes[0]}={text}")
        return Problem(text, "a word without a key was given; needed: key=value", "type dlx --help")
    key, _, value = text.partition("=")
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^")]
    reason = next(
        (line for line in lines if not line.startswith(("Error parsing", "See ", "LexerNo"))), "its characters"
    )
    unknown = re.search(r"Unknown function '(\w+)'", reason)
    if unknown and (near := SWEEP_ALIASES.get(unknown[1].lower()) or find_closest(unknown[1], SWEEP_EXAMPLES)):
        what = f"there is no such {unknown[1]}(…); did you mean {near}?"
        return Problem(text, what, f"type '{key}={SWEEP_EXAMPLES[near]}'")
    if " " in key:
        return Problem(text, "spaces stand around the =", f"type {key.strip()}={value.strip()}")
    return Problem(
        text, f"the value cannot be read ({reason})", f"to give it as text, type '{key}=\"{value}\"', quotes included"
    )


def check_sweeps(words: Iterable[Word], multirun: bool) -> list[Problem]:
    """Report several values where one is needed."""
    if multirun:
        return []
    return [
        Problem(
            word.text,
            "several values were given for one run",
            f"to run them all, type dlx train -m {word.text}"
            + (
                f"; to give a list, type {word.key}=[{','.join(word.options)}]"
                if not word.is_group or word.key in MULTIPLE_GROUPS
                else ""
            ),
        )
        for word in words
        if word.is_sweep
    ]


def check_intervals(words: Iterable[Word], multirun: bool) -> list[Problem]:
    """Report intervals where every value is run in turn."""
    what = "an interval has no values to run one after another; needed: a sweeper that draws from it"
    return [
        Problem(word.text, what, f"type dlx sweep NAME '{word.text}'")
        for word in words
        if multirun and word.is_sweep and not word.parsed.is_discrete_sweep()
    ]


def check_choices(words: Iterable[Word], options: Options, catalogue: Catalogue) -> list[Problem]:
    """Report options that a group does not have."""
    problems = []
    for word in words:
        if not word.is_group or word.parsed.is_delete():
            continue
        if problem := _check_number_of_choices(word):
            problems.append(problem)
            continue
        for option in list_choices(word):
            parent, _, name = f"{word.key}/{option}".rpartition("/")
            if name in options[parent]:
                continue
            known = catalogue.names(word.key) or options[word.key]
            problems.append(_report_unknown_option(word, option, known, catalogue))
    return problems


def list_choices(word: Word) -> list[str]:
    """List the options that a group's override names: one, those of a sweep, or those of a list."""
    return [name for names in _list_selections(word) for name in names]


def _list_selections(word: Word) -> list[list[str]]:
    """List what a group's override chooses, of a sweep for each of its values; `logger=[csv],[]` is [[csv], []]."""
    values: list[Any] = list(word.options) if word.is_sweep else [word.parsed.value()]
    for place, value in enumerate(values):
        if isinstance(value, str) and value.startswith("["):  # a list in a sweep
            values[place] = OverridesParser.create().parse_override(f"{word.key}={value}").value()
    return [
        ["null" if name is None else str(name) for name in (value if isinstance(value, list) else [value])]
        for value in values
    ]


def _check_number_of_choices(word: Word) -> Problem | None:
    """Report a null, which Hydra takes for no choice, and a list where one choice is needed."""
    selections, several = _list_selections(word), word.key in MULTIPLE_GROUPS
    if ["null"] in selections:
        remedy = "leave it out" if word.key not in GROUPS or word.key == "experiment" else f"type dlx list {word.key}s"
        none = {"scheduler": "~scheduler", **{group: f"{group}=[]" for group in MULTIPLE_GROUPS}}.get(word.key)
        return Problem(word.text, "null is no choice of a group", f"to choose none, type {none}" if none else remedy)
    if not several and word.key in GROUPS and (lists := [names for names in selections if len(names) > 1]):
        what = f"several were given for one {word.key}; needed: one"
        return Problem(word.text, what, f"to run them all, type dlx train -m {word.key}={','.join(lists[0])}")
    return None


# Hydra's plugins that dlx has as extras: where an option of theirs is not there, they are not installed.
PLUGIN_EXTRAS = {
    "hydra/launcher": {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
}

_NO_SERVICE = (
    "there is no logger of a service here",
    "type logger=[tensorboard,csv], or write one of your own (README, 'Your own parts')",
)
# What is asked for by the names of other places: what is wrong with it, and what to type.
ANSWERS: dict[str, dict[str, tuple[str, str]]] = {
    "logger": {
        **dict.fromkeys(("wandb", "mlflow", "aim", "comet", "neptune", "clearml"), _NO_SERVICE),
        **dict.fromkeys(("json", "jsonl"), ("metrics.jsonl is written by every run", "type logger=[] for it alone")),
        **dict.fromkeys(("none", "false", "off", "no"), ("there is no such logger", "to choose none, type logger=[]")),
        **dict.fromkeys(("true", "default"), ("there is no such logger", "type logger=tensorboard")),
        "both": ("there is no such logger", "type logger=[tensorboard,csv]"),
    }
}


def _report_unknown_option(word: Word, option: str, known: Sequence[str], catalogue: Catalogue) -> Problem:
    if answer := ANSWERS.get(word.key, {}).get(option.lower()):
        return Problem(word.text, *answer)
    extra = PLUGIN_EXTRAS.get(word.key, {}).get(option)
    if extra:
        what = f"{word.key} {option} is a plugin of Hydra's that is not installed"
        return Problem(word.text, what, f"type {install_command(extra)}")
    if word.key == "callbacks" and (built_in := find_built_in(option)):
        return Problem(word.text, *built_in)
    near = find_foreign_option(word.key, option) or find_closest(option, known)
    entry = catalogue.entry(word.key, near) if near else None
    what = f"there is no {word.key.removesuffix('s')} {option}; " + (
        f"did you mean {near}?" if near else f"there are {join_names(known)}"
    )
    elsewhere = [group for group in catalogue.groups if group != word.key and option in catalogue.names(group)]
    remedy = f"type {word.key}={near}" if near else f"type dlx list {pluralize(word.key)}"
    if elsewhere and not near:
        remedy = f"{option} is a {elsewhere[0]}: type {elsewhere[0]}={option}"
    return Problem(word.text, what, remedy, Location(entry.file, 1) if entry else None)


def list_cases(words: Sequence[Word]) -> list[list[str]]:
    """Return group choices of a sweep as few cases, each option in at least one of them; without a sweep, one case.

    The full product is Hydra's to compose, job by job.
    """
    groups = [word for word in words if word.is_group]
    count = max((len(word.options) for word in groups if word.is_sweep), default=1)
    return [[word.pick_option(number) for word in groups] for number in range(count)]
