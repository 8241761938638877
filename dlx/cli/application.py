"""`dlx train` as a Hydra application: parse its options, check the configuration, hand over to Hydra."""

import argparse
import contextlib
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
from dlx.config.trusted import trust_training, trust_while_composing
from dlx.distributed import launch
from dlx.errors import SweepError, UsageError
from dlx.hardware import processes
from dlx.job import Job, JobAborted, find_existing
from dlx.runs.failures import FAILURES_FILE, read_failures
from dlx.runs.rundir import relative_to_cwd
from dlx.sweeps.plugins import is_resumable, train_trial
from dlx.sweeps.space import expand_log, find_swept_keys

SWEEP_OPTIONS = ("--trials", "--metric", "--sampler", "--prune", "--jobs")  # options of `dlx sweep`


def make_parser() -> argparse.ArgumentParser:
    """Return Hydra's own parser; it raises a UsageError where Hydra would exit."""
    parser = make_application_parser()

    def error(message: str) -> NoReturn:
        raise UsageError(f"{message}; type dlx --help")

    parser.error = error  # type: ignore[method-assign]
    return parser


def parse_arguments(words: Sequence[str]) -> tuple[argparse.Namespace, list[Problem]]:
    """Parse options and overrides of a command line, in any order.

    Returns:
        The options, their `overrides` included, and a problem for each unknown option.

    Raises:
        UsageError: a known option has a wrong value.
    """
    given = list(words)
    for place, word in enumerate(given[:-1]):  # `--info model=gan`: the override is not the option's value
        if word in ("--info", "-i") and "=" in given[place + 1]:
            given[place] = "--info=all"
    parser = make_parser()
    args, unknown = parser.parse_known_intermixed_args(given)
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(args, name)]
    if len(modes) > 1:
        raise UsageError(f"{' and '.join(modes)} were given; needed: one of them")
    if args.resolve and not args.cfg:
        raise UsageError("--resolve was given without --cfg; type dlx --cfg job --resolve")
    options = [option for action in parser._actions for option in action.option_strings]
    problems = []
    for word in unknown:
        near = find_closest(word.partition("=")[0], [option for option in options if option.startswith("--")])
        key, _, value = word.lstrip("-").partition("=")
        option = word.partition("=")[0]
        if option in SWEEP_OPTIONS:
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
    """Run `dlx train WORDS` and return its exit code.

    Raises:
        UsageError: the command line has mistakes, all of them listed; nothing has been written yet.
        SweepError: jobs of a sweep failed.
        DlxError: what the run raised.
    """
    args, problems = parse_arguments(words)
    if args.experimental_rerun:
        raise UsageError("--experimental-rerun loads a pickle, which dlx never does; type dlx resume RUN")
    where = find_search_path(args.config_dir, args.config_path, args.config_name)
    args.config_dir = args.config_path = args.config_name = None  # `where` has them
    job = Job()
    directory: Path | None = None
    sweep: Path | None = None
    if not (args.shell_completion or args.hydra_help) or problems:
        args.overrides = [expand_log(word) for word in args.overrides]
        trains = not (args.cfg or args.info or args.shell_completion or args.hydra_help)
        with trust_while_composing() if trains else contextlib.nullcontext():
            prepared = compose_checked(args.overrides, where, args.multirun, problems)
        args.overrides = prepared.overrides
        if args.package:
            _check_package(args.package, prepared)
        if not (args.cfg or args.info):
            processes.check_strategy(prepared.config.trainer, prepared.multirun)
            count = launch.count_processes_to_launch(prepared.config.trainer)
            if count > 1:
                return launch.launch(words, count)
            key = "hydra.sweep.dir" if prepared.multirun else "hydra.run.dir"
            directory = _resolve_directory(prepared, key)
            trust_training(where.user)
            args.overrides = _set_override(args.overrides, key, directory)
            job = Job(find_existing(directory.absolute()), tuple(list_own_packages()), train_trial=train_trial)
            if prepared.multirun:
                from dlx.sweeps.plugins import check_launcher, register_plugins

                check_launcher(prepared.config.hydra)
                register_plugins(prepared.config.hydra)
                sweep = directory.absolute()
                if is_resumable(prepared.config.hydra):
                    _check_search(prepared, directory)
                else:
                    (sweep / FAILURES_FILE).unlink(missing_ok=True)  # of an earlier sweep into the same directory
    with use_search_path(where), _raise_hydra_errors():
        try:
            run_application(args, make_parser(), job, str(where.main), where.config_name)
        except (HydraException, OmegaConfBaseException) as error:
            if sweep is None or not any(read_failures(sweep)):
                raise ConfigError([explain_hydra_error(error, args.overrides)]) from error
        except JobAborted as stop:
            raise stop.error from stop.error.__cause__
        except Exception as error:
            if isinstance(error, OSError) and directory and not (sweep or directory / "run.json").exists():
                job.remove_leftovers(directory.absolute())  # Hydra could not make it, or write what it keeps in it
                raise UsageError(_format_unwritable(directory, error.strerror or str(error), key)) from error
            if sweep is None or not any(read_failures(sweep)):
                raise
    if sweep is None or is_resumable(prepared.config.hydra):  # a search prints its own summary
        return 0
    return _summarise_jobs(sweep, find_swept_keys(prepared.overrides))


def _check_search(prepared: Composition, directory: Path) -> None:
    """Refuse an invalid search before Hydra composes its configuration again."""
    from dlx.sweeps.settings import resolve_settings

    words = [word for word in prepared.overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if not any("glob(" in word for word in words):  # only Hydra's own loader knows what that stands for
        resolve_settings(prepared.config, words, directory)


def _check_package(package: str, prepared: Composition) -> None:
    config = prepared.config
    if package != "_global_" and OmegaConf.select(config, package) is None:
        near = find_closest(package, [str(key) for key in config])
        raise UsageError(f"--package {package} is not in the configuration; type {near or 'dlx --cfg job'}")


def _resolve_directory(prepared: Composition, key: str) -> Path:
    """Return the directory to write to. Resolved only once: a second time, the run's id and start time would differ.

    Raises:
        UsageError: the directory already holds a run, or cannot be made.
    """
    try:
        directory = Path(str(OmegaConf.select(prepared.config, key)))
    except OmegaConfBaseException as error:
        raise UsageError(f"{key} cannot be resolved: {str(error).splitlines()[0]}; type {key}=…") from error
    if (directory / "run.json").exists():
        raise UsageError(
            f"{key}={directory} was given; it already holds a run; "
            f"type dlx resume {directory} to continue it, or another {key}="
        )
    nearest = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise UsageError(_format_unwritable(directory, f"{nearest} is a file", key))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(_format_unwritable(directory, f"{nearest} may not be written to", key))
    return directory


def _format_unwritable(directory: Path, reason: str, key: str) -> str:
    return (
        f"the directory {directory} cannot be made: {reason}; needed: a writable directory; "
        f"type {key}=… with another one"
    )


def _set_override(overrides: Sequence[str], key: str, directory: Path) -> list[str]:
    quoted = str(directory).replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\$")
    return [*(word for word in overrides if word.partition("=")[0].lstrip("+") != key), f"{key}='{quoted}'"]


@contextmanager
def _raise_hydra_errors() -> Iterator[None]:
    """Make Hydra raise its errors instead of printing them."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _summarise_jobs(sweep: Path, keys: Sequence[str]) -> int:
    """Print the command that shows the jobs of a finished multirun, and return exit code 0.

    Raises:
        SweepError: jobs failed; it lists them.
    """
    varied = [key for key in keys if key != "seed"] or ["model"]
    look = f"dlx runs --sweep {relative_to_cwd(sweep)} --by {','.join(varied)}"
    failed = list(read_failures(sweep))
    if not failed:
        print(f"\nall jobs are done · {relative_to_cwd(sweep)}\n  {look}")
        return 0
    lines = [
        f"  job {entry['job']} ({entry['overrides']}): {entry['error']}"
        + (f"\n      {entry['place']}" if "place" in entry else "")
        for entry in failed
    ]
    text = f"{len(failed)} of the sweep's jobs failed; type {look} to see the others"
    raise SweepError("\n".join([text, *lines]))
