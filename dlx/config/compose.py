"""Compose a configuration from `key=value` words, and find every mistake in them first.

Shared by the command line and the Python interface. Imports Hydra, not torch.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import VersionBase, setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlx.config.catalogue import Catalogue
from dlx.config.fit import check_fit, check_pairs
from dlx.config.hydra_internals import Loader, apply_overrides, get_override_dirname
from dlx.config.keys import Keys
from dlx.config.origin import Origins
from dlx.config.overrides import (
    Options,
    Word,
    check_choices,
    check_intervals,
    check_sweeps,
    list_cases,
    parse_overrides,
)
from dlx.config.report import ConfigError, Problem
from dlx.config.saved_yaml import read_yaml
from dlx.config.search import (
    SearchPath,
    add_cwd_to_sys_path,
    find_search_path,
    list_own_packages,
    list_typed_packages,
    use_search_path,
)
from dlx.config.trusted import is_trusted
from dlx.config.validate import Validator


class Composition(NamedTuple):
    """What a command line without mistakes composes to."""

    overrides: list[str]  # as Hydra is to see them
    config: DictConfig  # of the first job, Hydra's node included
    multirun: bool


def compose(overrides: Sequence[str] = (), config_dir: str | None = None) -> DictConfig:
    """Compose the configuration of `dlx train` from overrides, the working directory's `./conf` and dlx's own files.

    Args:
        overrides: as on the command line, `["model=lenet5", "optimizer.lr=3e-3"]`.
        config_dir: a further directory of configuration files, searched first.

    Raises:
        ConfigError: a UsageError that names every mistake, its remedy, and the file and line of the right key.
    """
    search_path = find_search_path(config_dir)
    config = compose_checked(overrides, search_path).config
    with open_dict(config):
        del config["hydra"]
        config.allow = _list_allowed(config, overrides)
    allow_own_packages(config)
    return config


def _list_allowed(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return the packages that may be built; in a directory that is not trusted, only those that were typed."""
    return list(config.get("allow") or []) if is_trusted() else list_typed_packages(overrides)


def allow_own_packages(config: DictConfig, own: Sequence[str] | None = None) -> None:
    """Allow the user's own modules, as the working directory's `./conf` names them, to be built."""
    if own is None:
        own = list_own_packages()
    if own:
        with open_dict(config):
            config.allow = sorted({*(config.get("allow") or []), *own})


def compose_checked(
    overrides: Sequence[str], search_path: SearchPath, multirun: bool = False, problems: Sequence[Problem] = ()
) -> Composition:
    """Check overrides and complete them: a key that a constructor takes, though no YAML lists it, gets Hydra's `++`.

    Args:
        overrides: words of a command line.
        search_path: where configuration files are looked for.
        multirun: whether several values of a key make a sweep.
        problems: mistakes found before, reported together with those found here.

    Raises:
        ConfigError: the mistakes, all of them.
    """
    add_cwd_to_sys_path(list_typed_packages(overrides))
    _check_local_files(search_path)
    with _make_loader(search_path) as loader:
        composer = _Composer(loader, search_path, list(overrides), multirun)
        composer.problems += problems
        return composer.run()


def _check_local_files(search_path: SearchPath) -> None:
    """Read the files of an untrusted `./conf` once with a bound: Hydra and OmegaConf would unfold whatever they hold.

    Raises:
        UsageError: one of them is too large.
    """
    local = Path.cwd().resolve() / "conf"
    if local in search_path.user and not is_trusted():
        for file in sorted(local.rglob("*.y*ml")):
            read_yaml(file, interpolations=True)


@contextmanager
def _make_loader(search_path: SearchPath) -> Iterator[Loader]:
    """Yield Hydra's loader on our search path, without touching the state of a Hydra application around us."""
    base, current = VersionBase.instance().getbase(), HydraConfig.instance().cfg
    setbase("1.3")
    setup_globals()
    register_resolvers()
    try:
        with use_search_path(search_path):
            yield Loader(search_path.main)
    finally:
        HydraConfig.instance().cfg = current
        VersionBase.instance().version_base = base


def register_resolvers() -> None:
    """Register `${run_id:}`, eight hexadecimal digits; the same within one configuration, new for each.

    Another argument gives another number: the jobs of a sweep share what the sweep resolved, so they pass their number.
    """
    OmegaConf.register_new_resolver("run_id", lambda *of: secrets.token_hex(4), use_cache=True, replace=True)


class _Composer:
    """The state of one `compose_checked`: mistakes are collected on the way."""

    def __init__(self, loader: Loader, search_path: SearchPath, overrides: list[str], multirun: bool) -> None:
        self.loader, self.search_path, self.texts, self.multirun = loader, search_path, overrides, multirun
        self.catalogue = Catalogue(search_path)
        self.problems: list[Problem] = []

    def run(self) -> Composition:
        options = Options(self.loader, self.search_path.config_name, self.texts)
        words, unread = parse_overrides(self.texts, options, self.catalogue)
        mode = next((word.parsed.value() for word in words if word.key == "hydra.mode"), None)
        self.multirun = self.multirun or str(mode).upper() == "MULTIRUN"
        wrong = check_sweeps(words, self.multirun) + check_choices(words, options, self.catalogue)
        self.problems += [*unread, *wrong]
        bad = {problem.given for problem in wrong}
        good = [word for word in words if word.text not in bad]
        rewritten = {word.text: word.text for word in good}
        first: DictConfig | None = None
        for choices in list_cases(good):
            config = self._check_case(choices, good, rewritten)
            first = first if first is not None else config
        self.problems += check_pairs(good, self.catalogue, self.problems)
        if first is not None and str(first.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
            self.problems += check_intervals(good, self.multirun)
        if self.problems or first is None:
            raise ConfigError(self._sort_problems())
        multirun = self.multirun or first.hydra.mode == RunMode.MULTIRUN  # an experiment may ask for a sweep
        return Composition([rewritten[text] for text in self.texts], first, multirun)

    def _sort_problems(self) -> list[Problem]:
        """Return the mistakes in the order in which they were typed, without advice to type another mistake."""
        order = {text: place for place, text in enumerate(self.texts)}
        wrong = {f"type {problem.given}" for problem in self.problems}
        kept = [problem for problem in self.problems if problem.remedy not in wrong]
        return sorted(kept, key=lambda problem: order.get(problem.given, len(order)))

    def _check_case(self, choices: list[str], words: list[Word], rewritten: dict[str, str]) -> DictConfig | None:
        """Check one combination of groups with every value; None where it cannot be composed."""
        values = [word for word in words if not word.is_group]
        config = self._load([*choices, *(word.text for word in values if word.key == "hydra.searchpath")])
        if config is None:
            return None
        origins = Origins(self.search_path, self.loader.merged)
        keys = Keys(_to_tree(config), self.catalogue, origins)
        usable = []
        for word in values:
            keys.apply_target(word)
        for word in values:
            if problem := keys.check(word):
                self.problems.append(problem)
                continue
            if not (keys.has(word.path) or word.parsed.is_delete() or word.parsed.is_force_add()):
                rewritten[word.text] = "++" + word.text.lstrip("+")
            if self._apply_override(config, _with_first_option(word, rewritten[word.text])):
                usable.append(word)
        self._set_override_dirname(config, words)
        self._validate(config, origins, words)
        self._suggest_int(words)
        for word in usable:
            changed = config.copy() if word.options[1:] else config
            for option in word.options[1:]:
                if self._apply_override(changed, f"++{word.key}={option}"):
                    given = {word.path: f"{word.key}={option}"}
                    self.problems += Validator(changed, origins, given).run(word.path)
        return config

    def _suggest_int(self, words: list[Word]) -> None:
        """Say how an interval of whole numbers is typed, where one of other numbers was given."""
        intervals = {word.text: word for word in words if word.is_sweep and not word.parsed.is_discrete_sweep()}
        for place, problem in enumerate(self.problems):
            word = intervals.get(problem.given)
            if word is not None and "a whole number" in problem.what and "int(" not in word.text:
                key, _, value = word.text.partition("=")
                self.problems[place] = replace(problem, remedy=f"type {key}=int({value})")

    def _apply_override(self, config: DictConfig, text: str) -> bool:
        """Set one value, as Hydra does after merging the files."""
        try:
            override = OverridesParser.create().parse_overrides([text])
            apply_overrides(override, config)
        except HydraException as error:
            self.problems.append(explain_hydra_error(error, self.texts))
            return False
        return True

    def _set_override_dirname(self, config: DictConfig, words: list[Word]) -> None:
        """Set what Hydra records of the overrides, which a run directory may be named by."""
        own = [word.parsed for word in words if not word.is_hydra]
        style = config.hydra.job.config.override_dirname
        config.hydra.overrides.task = [word.input_line for word in own]
        config.hydra.job.override_dirname = get_override_dirname(
            own, kv_sep=style.kv_sep, item_sep=style.item_sep, exclude_keys=style.exclude_keys
        )

    def _validate(self, config: DictConfig, origins: Origins, words: list[Word]) -> None:
        HydraConfig.instance().cfg = config  # type: ignore[assignment]  # so that ${hydra:…} resolves, as it will in the job
        typed = {word.path: word.text for word in words}
        values = {word.path: word.text for word in words if not word.is_group or word.parsed.is_delete()}
        unfit = check_fit(config, config.hydra.runtime.choices, self.catalogue, typed)
        self.problems += [*Validator(config, origins, values, not unfit).run(), *unfit]
        missing = [group for group in ("model", "dataset", "task", "procedure", "trainer") if not config.get(group)]
        if missing:
            file = self.search_path.find_file(self.search_path.config_name)
            what = f"nothing is chosen from {', '.join(missing)}"
            remedy = "give each group a choice in its defaults list, or name that file otherwise than dlx's own"
            self.problems.append(Problem(str(file), what, remedy))

    def _load(self, overrides: list[str]) -> DictConfig | None:
        try:
            return self.loader.load_configuration(self.search_path.config_name, overrides, run_mode=RunMode.RUN)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            self.problems.append(explain_hydra_error(error, overrides))
            return None


def _to_tree(config: DictConfig) -> dict[str, Any]:
    tree = OmegaConf.to_container(config)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def _with_first_option(word: Word, text: str) -> str:
    """Return an override with the first value of its sweep."""
    return f"{text.partition('=')[0]}={word.options[0]}" if word.is_sweep and word.options else text


def explain_hydra_error(error: Exception, overrides: Sequence[str] = ()) -> Problem:
    """Turn an error of Hydra's, OmegaConf's or PyYAML's into one of ours."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    text = " ".join(f"{error} {cause or ''}".split("Search path:")[0].split("\nSee https://")[0].split())
    given = next((override for override in overrides if override in text), "")
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return Problem(f"{mark.name}:{mark.line + 1}", f"this is no YAML: {error.problem}")
    return Problem(given or "hydra", text)
