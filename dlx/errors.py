"""Errors that a user can act on. Each names what was given, what was needed and what to type next."""


class DlxError(Exception):
    """An error shown as its message, without a traceback."""

    exit_code = 1


class UsageError(DlxError):
    """Bad input: a wrong option, configuration or file. Exit code 2, and no run directory is left behind."""

    exit_code = 2


class TrainingError(DlxError):
    """Training cannot continue: a loss that is not finite, a full disk. Exit code 1; the run directory is kept."""

    exit_code = 1


class Interrupted(DlxError):
    """Stopped by SIGINT or SIGTERM: the step was finished and the checkpoint saved. Exit code 130."""

    exit_code = 130


class SweepError(DlxError):
    """Some jobs of a sweep failed; all were tried. Exit code 3."""

    exit_code = 3
