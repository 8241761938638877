"""What a sweep tells: a line a trial, and at the end a table, figures, and the trials that failed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlx.commandline import terminal
from dlx.commandline.job import Stopped
from dlx.sweeps import groups
from dlx.sweeps.record import ROOT
from dlx.sweeps.study import Study, Trial, about, content

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
        begun = study.trials()
        record = study.record
        print(
            f"{study.directory} · {record.sampler} on {len(study.space.dimensions)} keys · {record.metric} "
            f"({record.mode}) · {len(begun)} of {record.trials} trials begun before",
            flush=True,
        )

    def tell(self, trial: Trial) -> None:
        """How a trial of this process ended, and what is best so far."""
        trials = {one.number: one for one in self.study.trials()}
        one = trials[trial.number]
        value = f"{self.study.record.metric} {one.value:.4g}" if one.value is not None else ""
        best = self.best(list(trials.values()))
        settings = {**one.params, **({"seed": about(one).get("seed")} if self.study.space.seeds else {})}
        words = " ".join(f"{name}={terminal.text(value)}" for name, value in settings.items())
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
    done = ranked(study, trials)
    _table(study, trials)
    if done:
        from dlx.sweeps import figures

        drawn = figures.draw(study, trials)
        _next(study, done[0], drawn)
    failed = [one for one in trials if one.state.name == "FAIL"]
    if failed:
        from dlx.commandline.application import SweepError

        lines = [_failure(study, one) for one in failed]
        raise Stopped(SweepError(f"{len(failed)} of {len(trials)} trials failed\n" + "\n".join(lines)))
    return [{"trial": one.number, "value": one.value, "params": one.params} for one in trials]


def _table(study: Study, trials: "Sequence[FrozenTrial]") -> None:
    metric, names = study.record.metric, [one.name for one in study.space.dimensions]
    counts = {state: sum(STATES[one.state.name] == state for one in trials) for state in STATES.values()}
    print(f"\n{len(trials)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n))
    if study.space.seeds and names:
        settings = [({name: one.params.get(name) for name in names}, one.value, str(one.number)) for one in trials]
        found = groups.grouped(
            [
                (s, v if v is not None and STATES[t.state.name] == "finished" else float("nan"), n)
                for (s, v, n), t in zip(settings, trials, strict=True)
            ],
            study.record.mode == "min",
        )
        terminal.table(groups.rows(found[:SHOWN], metric), str(study.directory))
        hidden = len(found) - SHOWN
    else:
        best = ranked(study, trials)
        terminal.table([_row(study, one) for one in best[:SHOWN]], str(study.directory))
        hidden = len(best) - SHOWN
    if hidden > 0:
        print(f"… and {hidden} more")


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

    from dlx.sweeps.sweeper import named

    run, seed = study.run(best), about(best).get("seed")
    words = shlex.join(word.lstrip("+") for word in study.space.words(best.params, seed))
    print(f"\nbest: trial {best.number}, {run.directory if run else ''}")
    for file in drawn:
        print(f"  {file}")
    print(f"  dlx train {words}")
    print(f"  dlx tensorboard {study.directory}")
    points = study.space.points
    if points is None or len(study.trials()) < points * max(len(study.space.seeds), 1):
        option = "--trials " if study.directory.parent == ROOT else "hydra.sweeper.trials="
        print(f"  {named(study.directory)} {option}{2 * len(study.trials())}")


def _failure(study: Study, trial: "FrozenTrial") -> str:
    known = trial.user_attrs.get("failure", {})
    words = " ".join(varied(study, trial))
    place = f"\n      {known['place']}" if "place" in known else ""
    return f"  trial {trial.number} ({words}): {known.get('error', 'no reason is known')}{place}"
