"""`dlx train` as a Hydra application: its options, the check beforehand, and the hand-over."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlx.config.compose import Composition, compose_checked, explain_hydra_error
from dlx.config.hydra_internals import make_application_parser, run_application
from dlx.config.report import ConfigError, Problem, find_closest
from dlx.config.search import find_search_path, list_own_packages, use_search_path
from dlx.distributed import launch
from dlx.errors import SweepError, UsageError
from dlx.hardware import processes
from dlx.job import Job, Stopped, existing
from dlx.runs.failures import FAILED, failures
from dlx.runs.rundir import near
from dlx.sweeps.plugins import goes_on, train_trial
from dlx.sweeps.space import spelled, swept

SEARCHING = ("--trials", "--metric", "--sampler", "--prune", "--jobs")  # options of `dlx sweep`


def parser() -> argparse.ArgumentParser:
    """Hydra's own parser, its errors ours."""
    made = make_application_parser()

    def error(message: str) -> NoReturn:
        raise UsageError(f"{message}; type dlx --help")

    made.error = error  # type: ignore[method-assign]
    return made


def arguments(words: Sequence[str]) -> tuple[argparse.Namespace, list[Problem]]:
    """Options and overrides of a command line, in any order, and what is wrong with unknown options.

    Raises:
        UsageError: a known option with a wrong value.
    """
    given = list(words)
    for place, word in enumerate(given[:-1]):  # `--info model=gan`: the override is not the option's value
        if word in ("--info", "-i") and "=" in given[place + 1]:
            given[place] = "--info=all"
    known = parser()
    args, unknown = known.parse_known_intermixed_args(given)
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(args, name)]
    if len(modes) > 1:
        raise UsageError(f"{' and '.join(modes)} were given; needed: one of them")
    if args.resolve and not args.cfg:
        raise UsageError("--resolve was given without --cfg; type dlx --cfg job --resolve")
    options = [option for action in known._actions for option in action.option_strings]
    problems = []
    for word in unknown:
        near = find_closest(word.partition("=")[0], [option for option in options if option.startswith("--")])
        key, _, value = word.lstrip("-").partition("=")
        option = word.partition("=")[0]
        if option in SEARCHING:
            problems.append(Problem(word, "it belongs to dlx sweep", f"type dlx sweep NAME … {option} …"))
            following = given[given.index(word) + 1 :][:1]
            if option == word and following and following[0] in args.overrides and "=" not in following[0]:
                args.overrides.remove(following[0])
        elif near:
            problems.append(Problem(word, f"there is no such option; did you mean {near}?", "type dlx --help"))
        elif word.startswith("-"):
            following = given[given.index(word) + 1 :][:1]
            if not value and following and following[0] in args.overrides and "=" not in following[0]:
                value = following[0]
                args.overrides.remove(value)
            problems.append(Problem(word, "values are given without dashes", f"type {key}={value or '…'}"))
            args.overrides += [f"{key}={value}"] if value else []
    return args, problems


def run(words: Sequence[str]) -> int:
    """`dlx train WORDS`. Returns the exit code: 0, or 3 where jobs of a sweep failed.

    Raises:
        UsageError: mistakes, all of them, before anything was made.
        DlxError: what the run raised.
    """
    args, problems = arguments(words)
    if args.experimental_rerun:
        raise UsageError("--experimental-rerun loads a pickle, which dlx never does; type dlx resume RUN")
    where = find_search_path(args.config_dir, args.config_path, args.config_name)
    args.config_dir = args.config_path = args.config_name = None  # `where` has them
    job = Job()
    directory: Path | None = None
    sweep: Path | None = None
    if not (args.shell_completion or args.hydra_help) or problems:
        args.overrides = [spelled(word) for word in args.overrides]
        prepared = compose_checked(args.overrides, where, args.multirun, problems)
        args.overrides = prepared.overrides
        if args.package:
            _check_package(args.package, prepared)
        if not (args.cfg or args.info):
            processes.check(prepared.config.trainer, prepared.multirun)
            count = launch.wanted(prepared.config.trainer)
            if count > 1:
                return launch.launch(words, count)
            key = "hydra.sweep.dir" if prepared.multirun else "hydra.run.dir"
            directory = _directory(prepared, key)
            args.overrides = _fixed(args.overrides, key, directory)
            job = Job(existing(directory.absolute()), tuple(list_own_packages()), train_trial=train_trial)
            if prepared.multirun:
                from dlx.sweeps.plugins import reachable, register

                reachable(prepared.config.hydra)
                register(prepared.config.hydra)
                sweep = directory.absolute()
                if goes_on(prepared.config.hydra):
                    _agreed(prepared, directory)
                else:
                    (sweep / FAILED).unlink(missing_ok=True)  # of an earlier sweep into the same directory
    with use_search_path(where), _raised():
        try:
            run_application(args, parser(), job, str(where.main), where.config_name)
        except (HydraException, OmegaConfBaseException) as error:
            if sweep is None or not any(failures(sweep)):
                raise ConfigError([explain_hydra_error(error, args.overrides)]) from error
        except Stopped as stop:
            raise stop.error from stop.error.__cause__
        except Exception as error:
            if isinstance(error, OSError) and directory and not directory.exists():  # Hydra could not make it
                raise UsageError(_unwritable(directory, error.strerror or str(error), key)) from error
            if sweep is None or not any(failures(sweep)):
                raise
    if sweep is None or goes_on(prepared.config.hydra):  # a search has told of itself
        return 0
    return _summary(sweep, swept(prepared.overrides))


def _agreed(prepared: Composition, directory: Path) -> None:
    """Refuse a search that is not good before Hydra composes it once more."""
    from dlx.sweeps.settings import agreed

    words = [word for word in prepared.overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if not any("glob(" in word for word in words):  # only Hydra's own loader knows what that stands for
        agreed(prepared.config, words, directory)


def _check_package(package: str, prepared: Composition) -> None:
    config = prepared.config
    if package != "_global_" and OmegaConf.select(config, package) is None:
        near = find_closest(package, [str(key) for key in config])
        raise UsageError(f"--package {package} is not in the configuration; type {near or 'dlx --cfg job'}")


def _directory(prepared: Composition, key: str) -> Path:
    """Where the run is written, decided once: an id and a time that are read twice would differ.

    Raises:
        UsageError: there is a run already, or no directory can be made there.
    """
    try:
        directory = Path(str(OmegaConf.select(prepared.config, key)))
    except OmegaConfBaseException as error:
        raise UsageError(f"{key} cannot be resolved: {str(error).splitlines()[0]}; type {key}=…") from error
    if (directory / "run.json").exists():
        raise UsageError(
            f"{key}={directory} was given; it already holds a run; "
            f"type dlx resume {directory} to go on with it, or another {key}="
        )
    nearest = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise UsageError(_unwritable(directory, f"{nearest} is a file", key))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(_unwritable(directory, f"{nearest} may not be written to", key))
    return directory


def _unwritable(directory: Path, reason: str, key: str) -> str:
    return (
        f"the directory {directory} cannot be made: {reason}; needed: a writable directory; "
        f"type {key}=… with another one"
    )


def _fixed(overrides: Sequence[str], key: str, directory: Path) -> list[str]:
    quoted = str(directory).replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\$")
    return [*(word for word in overrides if word.partition("=")[0].lstrip("+") != key), f"{key}='{quoted}'"]


@contextmanager
def _raised() -> Iterator[None]:
    """Have Hydra raise its errors, which it would print."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _summary(sweep: Path, keys: Sequence[str]) -> int:
    """What looks at the jobs of a multirun; those that failed, named at its end, 3 where there are any."""
    varied = [key for key in keys if key != "seed"] or ["model"]
    look = f"dlx runs --sweep {near(sweep)} --by {','.join(varied)}"
    failed = list(failures(sweep))
    if not failed:
        print(f"\nall jobs are done · {near(sweep)}\n  {look}")
        return 0
    lines = [
        f"  job {entry['job']} ({entry['overrides']}): {entry['error']}"
        + (f"\n      {entry['place']}" if "place" in entry else "")
        for entry in failed
    ]
    text = f"{len(failed)} of the sweep's jobs failed; type {look} to see the others"
    raise SweepError("\n".join([text, *lines]))
