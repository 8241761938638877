"""The command line: dispatch to verbs; `key=value` without a verb means train.

Nothing here imports torch; each verb's module is loaded when it is asked for.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from dlx.cli.verbs import VERBS
from dlx.errors import DlxError, UsageError

# Verbs that read what somebody else may have written, and what its values may raise deep in a library.
RUN_VERBS = frozenset(
    ("evaluate", "predict", "resume", "sample", "visualize", "export", "runs", "compare", "record", "tensorboard")
)
SAVED_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,  # RecursionError and torch's own too
    TypeError,
    ValueError,
)


def main(words: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0; 1 failed; 2 bad usage; 3 some jobs of a sweep failed; 130 interrupted."""
    from dlx.hardware import processes
    from dlx.terminal.console import show_error

    if processes.rank() > 0:  # rank 0 of the processes that torchrun started composes, writes and reports
        from dlx.cli.worker import run_worker

        sys.exit(run_worker())
    if os.environ.get("HYDRA_FULL_ERROR") == "1":  # ours from here on: `application` sets it for its own ends
        os.environ.setdefault("DLX_DEBUG", "1")
    try:
        code = run(list(sys.argv[1:] if words is None else words))
    except DlxError as error:
        show_error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        print("dlx: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of `dlx list | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        show_error(error)
        code = 1
    if processes.world_size() > 1:
        from dlx.cli.worker import release_workers

        release_workers(code)
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run one command line and return its exit code.

    Raises:
        DlxError: an error that the user can act on.
    """
    verb = words[0] if words else ""
    if verb in VERBS and verb != "train":
        return run_command(verb, words[1:])
    rest = words[1:] if verb == "train" else words
    if not words or _has_option(rest, "--help", "-h"):
        from dlx.cli.help import print_help

        print_help(rest)
        return 0
    if _has_option(rest, "--version"):
        from dlx.cli.help import format_version

        print(format_version())
        return 0
    if verb.isidentifier() and verb != "train" and (wrong := explain_unknown_verb(verb)):
        raise UsageError(wrong)
    from dlx.cli import application, completion

    if completion.is_query(rest):
        return completion.print_completions(rest)
    return application.run(rest)


def run_command(verb: str, words: list[str]) -> int:
    """Run a click command of `dlx/cli/commands` and return its exit code."""
    import click

    from dlx.terminal.console import find_user_frame

    try:
        module = importlib.import_module(f"dlx.cli.commands.{verb}")
        result = module.command.main(args=words, prog_name=f"dlx {verb}", standalone_mode=False)
    except click.UsageError as error:
        hint = f"type {error.ctx.command_path} --help" if error.ctx else f"type dlx {verb} --help"
        message = error.format_message().rstrip(".")
        raise UsageError(f"{message}{'' if message.endswith('?') else ';'} {hint}") from error
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SAVED_ERRORS as error:
        if verb not in RUN_VERBS or isinstance(error, BrokenPipeError) or find_user_frame(error):
            raise
        text = (str(error).splitlines() or [""])[0][:300]
        raise DlxError(
            f"dlx {' '.join([verb, *words[:1]])} cannot use what is saved there ({type(error).__name__}: {text}); "
            "needed: a run as dlx saved it; DLX_DEBUG=1 shows where it failed"
        ) from error
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def explain_unknown_verb(word: str) -> str | None:
    """Return the error message for a first word that resembles a verb; None where it may be a mistyped override."""
    from dlx.config.report import find_closest

    near = find_closest(word, VERBS)
    return f"there is no verb {word}; did you mean dlx {near}? type dlx --help" if near else None


def _has_option(words: Sequence[str], *options: str) -> bool:
    return any(word in options for word in words)
