"""`sweep.json`: the settings that a sweep was begun with; the same command continues it, another one is refused."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from dlx.config.moved import move_overrides
from dlx.config.report import restore_log_sweeps
from dlx.errors import UsageError
from dlx.runs.atomic import write_atomically

FILE = "sweep.json"
ROOT = Path("outputs/sweeps")
DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Record:
    """A sweep's settings.

    Args:
        overrides: the search space and the fixed values, without Hydra's own.
        trials: how many runs in all.
        metric: the metric to optimise.
        own: the metric was not asked for: each run's own monitored metric counts.
        mode: max or min.
        sampler: tpe, random, grid or cmaes.
        prune: median, asha or hyperband; None for none.
        seed: of the sampler.
        command: the command that began the sweep.
    """

    overrides: tuple[str, ...]
    trials: int
    metric: str
    own: bool
    mode: str
    sampler: str
    prune: str | None
    seed: int
    command: str = field(default_factory=lambda: shlex.join(["dlx", *sys.argv[1:]]), compare=False)

    def write(self, directory: Path) -> None:
        """Replace `sweep.json` atomically."""
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / FILE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    def continue_from(self, earlier: "Record", directory: Path) -> "Record":
        """Return the earlier record of the same sweep, with the larger number of trials.

        Raises:
            UsageError: the settings differ; the message names every difference.
        """
        differences = [
            f"  {name}: {before} → {now}" for name, before, now in _find_differences(earlier.overrides, self.overrides)
        ]
        for name in ("metric", "sampler", "prune", "seed"):
            before, now = getattr(earlier, name), getattr(self, name)
            if before != now:
                differences.append(f"  --{name}: {before or 'none'} → {now or 'none'}")
        if earlier.metric == self.metric and earlier.mode != self.mode:
            differences.append(f"  --metric: {self.metric}:{earlier.mode} → {self.metric}:{self.mode}")
        if differences:
            raise UsageError(
                f"the sweep in {directory} was begun otherwise:\n" + "\n".join(differences) + "\n"
                f"needed: the same; type {_describe_continue_command(directory)} to go on with it, "
                "or another name for a new one"
            )
        return replace(earlier, trials=max(earlier.trials, self.trials))


def read_record(directory: Path) -> Record | None:
    """Read a sweep's `sweep.json`. Returns None where there is none.

    Raises:
        UsageError: the file cannot be read.
    """
    file = directory / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Record(**{**content, "overrides": tuple(move_overrides(content["overrides"]))})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{file} is not what a sweep is recorded in ({error}); type another name") from error


def _describe_continue_command(directory: Path) -> str:
    """Say which command continues the sweep, for an error."""
    is_named = directory.absolute() == (ROOT / directory.name).absolute()
    return f"dlx sweep {directory.name}" if is_named else f"its own command, which {FILE} holds,"


def _find_differences(before: Sequence[str], now: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the keys whose values differ, with both as they were typed; `1e-3` and `0.001` are the same."""
    old, new = _parse_overrides(before), _parse_overrides(now)
    return [
        (key, old[key][1] if key in old else "not given", new[key][1] if key in new else "not given")
        for key in dict.fromkeys([*old, *new])
        if old.get(key, (None,))[0] != new.get(key, (None,))[0]
    ]


def _parse_overrides(overrides: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Return each key's value, to compare by, and as it was typed."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {
        one.key_or_group: (
            (one.is_delete(), one.value_type, one.value()),
            restore_log_sweeps(word.partition("=")[2]) or "taken away",
        )
        for one, word in zip(parsed, overrides, strict=True)
    }


def continue_command(directory: Path) -> str:
    """Return the command that goes on with a sweep."""
    if directory.absolute().parent == ROOT.absolute():
        return f"dlx sweep {directory.name}"
    return f"dlx -m hydra/sweeper=dlx_optuna hydra.sweep.dir={directory}"
