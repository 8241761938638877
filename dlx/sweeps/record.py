"""`sweep.json`: what a sweep was begun with, so that the same command goes on with it and another one is refused."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from dlx.config.report import restore_log_sweeps
from dlx.errors import UsageError

FILE = "sweep.json"
ROOT = Path("outputs/sweeps")
TRIALS = 20  # unless told otherwise


@dataclass(frozen=True)
class Record:
    """A sweep's settings.

    Args:
        overrides: the space and what is fixed, Hydra's own left out.
        trials: how many runs in all.
        metric: what is optimised.
        own: it was not asked for: each run's own monitored metric counts.
        mode: max or min.
        sampler: tpe, random, grid or cmaes.
        prune: median, asha or hyperband; None for none.
        seed: of the sampler.
        command: that began it.
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
        """Replace `sweep.json`, whole or not at all."""
        directory.mkdir(parents=True, exist_ok=True)
        aside = directory / f".{FILE}.{platform.node()}.{os.getpid()}"  # two may begin at once
        aside.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        aside.replace(directory / FILE)

    def going_on(self, begun: "Record", directory: Path) -> "Record":
        """This record after an earlier one of the same sweep: the more trials count.

        Raises:
            UsageError: it is another sweep; every difference is named.
        """
        differing = [
            f"  {name}: {before} → {now}" for name, before, now in _differences(begun.overrides, self.overrides)
        ]
        for name in ("metric", "sampler", "prune", "seed"):
            before, now = getattr(begun, name), getattr(self, name)
            if before != now:
                differing.append(f"  --{name}: {before or 'none'} → {now or 'none'}")
        if differing:
            raise UsageError(
                f"the sweep in {directory} was begun otherwise:\n" + "\n".join(differing) + "\n"
                f"needed: the same; type {_again(directory)} to go on with it, or another name for a new one"
            )
        return replace(begun, trials=max(begun.trials, self.trials))


def read(directory: Path) -> Record | None:
    """The record of a sweep, None where there is none.

    Raises:
        UsageError: it is not one.
    """
    file = directory / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Record(**{**content, "overrides": tuple(content["overrides"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{file} is not what a sweep is recorded in ({error}); type another name") from error


def _again(directory: Path) -> str:
    named = directory.absolute() == (ROOT / directory.name).absolute()
    return f"dlx sweep {directory.name}" if named else f"its own command, which {FILE} holds,"


def _differences(before: Sequence[str], now: Sequence[str]) -> list[tuple[str, str, str]]:
    """Keys that are given otherwise: name, and both values as they were typed; `1e-3` and `0.001` are the same."""
    old, new = _parsed(before), _parsed(now)
    return [
        (key, old[key][1] if key in old else "not given", new[key][1] if key in new else "not given")
        for key in dict.fromkeys([*old, *new])
        if old.get(key, (None,))[0] != new.get(key, (None,))[0]
    ]


def _parsed(words: Sequence[str]) -> dict[str, tuple[Any, str]]:
    parsed = OverridesParser.create().parse_overrides(list(words))
    return {
        one.key_or_group: (
            (one.is_delete(), one.value_type, one.value()),
            restore_log_sweeps(word.partition("=")[2]) or "taken away",
        )
        for one, word in zip(parsed, words, strict=True)
    }


def continue_command(directory: Path) -> str:
    """Return the command that goes on with a sweep."""
    if directory.absolute().parent == ROOT.absolute():
        return f"dlx sweep {directory.name}"
    return f"dlx -m hydra/sweeper=dlx_optuna hydra.sweep.dir={directory}"
