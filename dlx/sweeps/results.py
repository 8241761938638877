"""A sweep's report: a line for each trial, and at the end a table, figures, and the trials that failed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlx.errors import SweepError
from dlx.job import JobAborted
from dlx.sweeps import groups
from dlx.sweeps.record import ROOT, continue_command
from dlx.sweeps.study import Study, Trial, get_trial_info, read_run
from dlx.terminal import terminal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MAX_ROWS = 20  # rows of the table
STATUS_BY_STATE = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


class TrialReporter:
    """Prints a line for each trial that ends.

    Args:
        study: the sweep's trials.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        begun, record, space = study.get_trials(), study.record, study.space
        wanted = record.trials if space.n_runs is None else min(record.trials, space.n_runs)
        counts = (len(space.dimensions), "key"), (len(space.seeds), "seed")
        varied = " and ".join(f"{n} {word}{'s' * (n > 1)}" for n, word in counts if n)
        print(
            f"{study.directory} · {record.sampler} on {varied} · {record.metric} ({record.mode}) · "
            f"{len(begun)} of {wanted} trials begun before",
            flush=True,
        )

    def print_trial(self, trial: Trial, settled: bool = True) -> None:
        """Print how a trial of this process ended, and the best so far; or that it was killed."""
        if not settled:
            print(f"trial {trial.number} killed · it goes on once more", flush=True)
            return
        trials = {one.number: one for one in self.study.get_trials()}
        one = trials[trial.number]
        value = f"{self.study.record.metric} {one.value:.4g}" if one.value is not None else ""
        best = self.find_best(list(trials.values()))
        settings = {**one.params, **({"seed": get_trial_info(one).get("seed")} if self.study.space.seeds else {})}
        words = " ".join(f"{name}={terminal.format_cell(value)}" for name, value in settings.items())
        outcome = [f"trial {trial.number} {STATUS_BY_STATE[one.state.name]}", value, words]
        best_so_far = f"best {best.value:.4g} (trial {best.number})" if best is not None else ""
        seconds = f"{(one.duration.total_seconds() if one.duration else 0):.1f} s"
        print(" · ".join(part for part in (*outcome, seconds, best_so_far) if part), flush=True)

    def find_best(self, trials: "Sequence[FrozenTrial]") -> "FrozenTrial | None":
        """Return the finished trial with the best value."""
        return next(iter(rank_trials(self.study, trials)), None)


def rank_trials(study: Study, trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Return the finished trials, the best first."""
    done = [one for one in trials if one.state.name == "COMPLETE" and one.value is not None]
    return sorted(done, key=lambda one: one.value or 0.0, reverse=study.record.mode == "max")


def get_varied_overrides(study: Study, trial: "FrozenTrial") -> list[str]:
    """Return the overrides that set what varies of a trial, as they are typed."""
    overrides = study.space.make_overrides(trial.params, get_trial_info(trial).get("seed"))
    return [word.lstrip("+") for word in overrides[len(study.space.fixed) :]]


def report_sweep(study: Study) -> list[dict[str, Any]]:
    """Print the table, the figures' files, and the commands to type next. Returns the trials.

    Raises:
        JobAborted: with a SweepError that names the trials that failed.
    """
    trials = study.get_trials()
    _print_table(study, trials)
    if (best := find_best_trial(study, trials)) is not None:
        from dlx.sweeps import figures

        drawn = figures.draw_figures(study, trials)
        _print_next_commands(study, best, drawn)
    failed = [one for one in trials if one.state.name == "FAIL"]
    if failed:
        lines = _describe_failures(study, failed)
        if study.is_metric_missing():
            metric = study.record.metric
            lines.append(
                f"no run has {metric}, so the sweep was ended; type another name, and a --metric that they have"
            )
        raise JobAborted(SweepError(f"{len(failed)} of {len(trials)} trials failed\n" + "\n".join(lines)))
    return [{"trial": one.number, "value": one.value, "params": one.params} for one in trials]


def _print_table(study: Study, trials: "Sequence[FrozenTrial]") -> None:
    """Print how many trials ended how, and a table of the best ones, or of points where each has several seeds."""
    metric, names = study.record.metric, [one.name for one in study.space.dimensions]
    counts = {
        state: sum(STATUS_BY_STATE[one.state.name] == state for one in trials) for state in STATUS_BY_STATE.values()
    }
    complete = ", the whole space" if len(trials) == study.space.n_runs else ""
    print(
        f"\n{len(trials)} trial{'s' * (len(trials) != 1)}{complete}: "
        + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    )
    if study.space.seeds and names:
        points = _group_trials(study, trials)
        terminal.print_table(groups.make_rows(points[:MAX_ROWS], metric), str(study.directory))
        hidden = len(points) - MAX_ROWS
    else:
        ranked = rank_trials(study, trials)
        terminal.print_table([_make_row(study, one) for one in ranked[:MAX_ROWS]], str(study.directory))
        hidden = len(ranked) - MAX_ROWS
    if hidden > 0:
        print(f"… and {hidden} more")


def _group_trials(study: Study, trials: "Sequence[FrozenTrial]") -> list[groups.Group]:
    """Group the trials by point, so that the seeds of each stand together."""
    rows = [
        (
            {one.name: trial.params.get(one.name) for one in study.space.dimensions},
            trial.value if trial.value is not None and trial.state.name == "COMPLETE" else math.nan,
            str(trial.number),
        )
        for trial in trials
    ]
    return groups.group_runs(rows, study.record.mode == "min")


def find_best_trial(study: Study, trials: "Sequence[FrozenTrial]") -> "FrozenTrial | None":
    """Return the best finished trial; with several seeds one of the point with the best mean, not the luckiest."""
    ranked = rank_trials(study, trials)
    if ranked and study.space.seeds:
        numbers = _group_trials(study, trials)[0].runs
        return next(one for one in ranked if str(one.number) in numbers)
    return next(iter(ranked), None)


def _make_row(study: Study, trial: "FrozenTrial") -> dict[str, Any]:
    """Return a trial as a row of the table."""
    run = study.find_run(trial)
    known = read_run(run) if run else {}
    seed = {"seed": get_trial_info(trial).get("seed")} if study.space.seeds else {}
    return {
        "trial": trial.number,
        study.record.metric: trial.value,
        **{one.name: trial.params.get(one.name) for one in study.space.dimensions},
        **seed,
        "epochs": known.get("epoch"),
        "seconds": round(known["seconds"], 1) if "seconds" in known else None,
        "run": get_trial_info(trial).get("id"),
    }


def _print_next_commands(study: Study, best: "FrozenTrial", drawn: "Sequence[Path]") -> None:
    """Print the best trial, the figures, and the commands to type next."""
    import shlex

    run, seed = study.find_run(best), get_trial_info(best).get("seed")
    words = shlex.join(word.lstrip("+") for word in study.space.make_overrides(best.params, seed))
    print(f"\nbest: trial {best.number}, {run.directory if run else ''}")
    for file in drawn:
        print(f"  {file}")
    print(f"  dlx train {words}")
    print(f"  dlx tensorboard {study.directory}")
    if study.space.n_runs is None or len(study.get_trials()) < study.space.n_runs:
        option = "--trials " if study.directory.parent == ROOT else "hydra.sweeper.trials="
        print(f"  {continue_command(study.directory)} {option}{2 * len(study.get_trials())}")


def _describe_failures(study: Study, failed: "Sequence[FrozenTrial]") -> list[str]:
    """Return a line for each trial that failed; a reason that another trial had is given once."""
    lines, first_with_reason = list[str](), dict[tuple[Any, Any], int]()
    for trial in failed:
        known = trial.user_attrs.get("failure", {})
        error, place = known.get("error", "no reason is known"), known.get("place")
        first = first_with_reason.setdefault((error, place), trial.number)
        why = error if first == trial.number else f"as trial {first}"
        where = f"\n      {place}" if place and first == trial.number else ""
        lines.append(f"  trial {trial.number} ({' '.join(get_varied_overrides(study, trial))}): {why}{where}")
    return lines
