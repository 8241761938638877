"""What a sweep tells: a line a trial, and at the end a table, figures, and the trials that failed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlx.errors import SweepError
from dlx.job import Stopped
from dlx.sweeps import groups
from dlx.sweeps.record import ROOT, continue_command
from dlx.sweeps.study import Study, Trial, about, content
from dlx.terminal import terminal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SHOWN = 20  # rows of the table
STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


class News:
    """One line for each trial that ends.

    Args:
        study: whose.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        begun, record, space = study.trials(), study.record, study.space
        wanted = record.trials if space.runs is None else min(record.trials, space.runs)
        counts = (len(space.dimensions), "key"), (len(space.seeds), "seed")
        on = " and ".join(f"{n} {word}{'s' * (n > 1)}" for n, word in counts if n)
        print(
            f"{study.directory} · {record.sampler} on {on} · {record.metric} ({record.mode}) · "
            f"{len(begun)} of {wanted} trials begun before",
            flush=True,
        )

    def tell(self, trial: Trial, settled: bool = True) -> None:
        """How a trial of this process ended, and what is best so far; or that it was killed."""
        if not settled:
            print(f"trial {trial.number} killed · it goes on once more", flush=True)
            return
        trials = {one.number: one for one in self.study.trials()}
        one = trials[trial.number]
        value = f"{self.study.record.metric} {one.value:.4g}" if one.value is not None else ""
        best = self.best(list(trials.values()))
        settings = {**one.params, **({"seed": about(one).get("seed")} if self.study.space.seeds else {})}
        words = " ".join(f"{name}={terminal.format_cell(value)}" for name, value in settings.items())
        told = [f"trial {trial.number} {STATES[one.state.name]}", value, words]
        ahead = f"best {best.value:.4g} (trial {best.number})" if best is not None else ""
        seconds = f"{(one.duration.total_seconds() if one.duration else 0):.1f} s"
        print(" · ".join(part for part in (*told, seconds, ahead) if part), flush=True)

    def best(self, trials: "Sequence[FrozenTrial]") -> "FrozenTrial | None":
        """The best one that is finished."""
        return next(iter(ranked(self.study, trials)), None)


def ranked(study: Study, trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Finished trials, the best first."""
    done = [one for one in trials if one.state.name == "COMPLETE" and one.value is not None]
    return sorted(done, key=lambda one: one.value or 0.0, reverse=study.record.mode == "max")


def varied(study: Study, trial: "FrozenTrial") -> list[str]:
    """A trial's own settings, as they are typed."""
    words = study.space.words(trial.params, about(trial).get("seed"))
    return [word.lstrip("+") for word in words[len(study.space.fixed) :]]


def report(study: Study) -> list[dict[str, Any]]:
    """The table, the figures, and what to type next. Returns the trials.

    Raises:
        Stopped: with a SweepError that names the trials that failed.
    """
    trials = study.trials()
    _table(study, trials)
    if (found := best(study, trials)) is not None:
        from dlx.sweeps import figures

        drawn = figures.draw(study, trials)
        _next(study, found, drawn)
    failed = [one for one in trials if one.state.name == "FAIL"]
    if failed:
        lines = _failures(study, failed)
        if study.unmeasured():
            metric = study.record.metric
            lines.append(
                f"no run has {metric}, so the sweep was ended; type another name, and a --metric that they have"
            )
        raise Stopped(SweepError(f"{len(failed)} of {len(trials)} trials failed\n" + "\n".join(lines)))
    return [{"trial": one.number, "value": one.value, "params": one.params} for one in trials]


def _table(study: Study, trials: "Sequence[FrozenTrial]") -> None:
    metric, names = study.record.metric, [one.name for one in study.space.dimensions]
    counts = {state: sum(STATES[one.state.name] == state for one in trials) for state in STATES.values()}
    whole = ", the whole space" if len(trials) == study.space.runs else ""
    print(
        f"\n{len(trials)} trial{'s' * (len(trials) != 1)}{whole}: "
        + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    )
    if study.space.seeds and names:
        found = _groups(study, trials)
        terminal.print_table(groups.rows(found[:SHOWN], metric), str(study.directory))
        hidden = len(found) - SHOWN
    else:
        best = ranked(study, trials)
        terminal.print_table([_row(study, one) for one in best[:SHOWN]], str(study.directory))
        hidden = len(best) - SHOWN
    if hidden > 0:
        print(f"… and {hidden} more")


def _groups(study: Study, trials: "Sequence[FrozenTrial]") -> list[groups.Group]:
    """The trials of each point together."""
    rows = [
        (
            {one.name: trial.params.get(one.name) for one in study.space.dimensions},
            trial.value if trial.value is not None and trial.state.name == "COMPLETE" else math.nan,
            str(trial.number),
        )
        for trial in trials
    ]
    return groups.grouped(rows, study.record.mode == "min")


def best(study: Study, trials: "Sequence[FrozenTrial]") -> "FrozenTrial | None":
    """The best one that is finished; with several seeds of the point whose mean is best, not of that with most luck."""
    done = ranked(study, trials)
    if done and study.space.seeds:
        own = _groups(study, trials)[0].runs
        return next(one for one in done if str(one.number) in own)
    return next(iter(done), None)


def _row(study: Study, trial: "FrozenTrial") -> dict[str, Any]:
    run = study.run(trial)
    known = content(run) if run else {}
    seed = {"seed": about(trial).get("seed")} if study.space.seeds else {}
    return {
        "trial": trial.number,
        study.record.metric: trial.value,
        **{one.name: trial.params.get(one.name) for one in study.space.dimensions},
        **seed,
        "epochs": known.get("epoch"),
        "seconds": round(known["seconds"], 1) if "seconds" in known else None,
        "run": about(trial).get("id"),
    }


def _next(study: Study, best: "FrozenTrial", drawn: "Sequence[Path]") -> None:
    import shlex

    run, seed = study.run(best), about(best).get("seed")
    words = shlex.join(word.lstrip("+") for word in study.space.words(best.params, seed))
    print(f"\nbest: trial {best.number}, {run.directory if run else ''}")
    for file in drawn:
        print(f"  {file}")
    print(f"  dlx train {words}")
    print(f"  dlx tensorboard {study.directory}")
    if study.space.runs is None or len(study.trials()) < study.space.runs:
        option = "--trials " if study.directory.parent == ROOT else "hydra.sweeper.trials="
        print(f"  {continue_command(study.directory)} {option}{2 * len(study.trials())}")


def _failures(study: Study, failed: "Sequence[FrozenTrial]") -> list[str]:
    """A line for each trial that failed; what was told of another one is not told again."""
    lines, told = list[str](), dict[tuple[Any, Any], int]()
    for trial in failed:
        known = trial.user_attrs.get("failure", {})
        error, place = known.get("error", "no reason is known"), known.get("place")
        first = told.setdefault((error, place), trial.number)
        why = error if first == trial.number else f"as trial {first}"
        where = f"\n      {place}" if place and first == trial.number else ""
        lines.append(f"  trial {trial.number} ({' '.join(varied(study, trial))}): {why}{where}")
    return lines
