"""The trials of a sweep, kept by Optuna in a journal file that several processes, on several machines, write to.

What is run next is decided under one lock: a trial whose process is gone is taken over, every point gets all its seeds,
a grid goes through its points in order, and a point of a space that can be counted is run once.
"""

import contextlib
import itertools
import math
import random
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlx.errors import UsageError
from dlx.runs.failures import read_failures
from dlx.runs.rundir import Run
from dlx.sweeps import objective
from dlx.sweeps.heartbeat import Owner, running_here
from dlx.sweeps.record import Record, read
from dlx.sweeps.space import Choices, Dimension, Space, counted

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileOpenLock
    from optuna.trial import FrozenTrial

NAME = "sweep"  # of Optuna's study within its journal
JOURNAL = "journal.log"
ENOUGH = 3  # runs that came to their end without the metric


@dataclass(frozen=True)
class Trial:
    """One run to be made, or to be gone on with."""

    number: int
    id: str  # eight hexadecimal digits, at the end of its directory's name
    words: tuple[str, ...]  # its overrides
    begun: bool = False  # there is a run directory to go on with


def storage(directory: Path, quick: bool = False) -> "JournalStorage":
    """A sweep's journal.

    Args:
        directory: of the sweep.
        quick: what is written need not outlive a power cut, as a pruner's many values need not.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    file = str(directory.absolute() / JOURNAL)
    if not quick:
        return JournalStorage(JournalFileBackend(file, lock_obj=_lock(file)))
    from dlx.sweeps.journal import QuickBackend

    return JournalStorage(QuickBackend(file, lock_obj=_lock(file)))


def _lock(file: str) -> "JournalFileOpenLock":
    """Works on local and on network file systems alike; one that a killed process left is broken after 30 seconds."""
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(file)


class Study:
    """A sweep's trials, as one of the processes that work on it sees them.

    Args:
        directory: of the sweep.
        record: what was asked for.
        space: the record's overrides, as a space.
        owner: this process.
        epochs: of a run, where all have the same.
    """

    def __init__(self, directory: Path, record: Record, space: Space, owner: Owner, epochs: int | None = None) -> None:
        import optuna

        from dlx.sweeps.journal import mend

        self.directory, self.record, self.space, self.owner = directory, record, space, owner
        direction: Literal["maximize", "minimize"] = "maximize" if record.mode == "max" else "minimize"
        self.pruner = pruner(record.prune, epochs)
        with self.locked():
            mend(directory / JOURNAL, _lock(str(directory.absolute() / JOURNAL)))
            self.storage = storage(directory)
            self.optuna = optuna.create_study(
                storage=self.storage, study_name=NAME, direction=direction, pruner=self.pruner, load_if_exists=True
            )
        self.id = self.storage.get_study_id_from_name(NAME)
        self.distributions = {one.name: distribution(one) for one in space.dimensions}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time."""
        lock = _lock(str(self.directory.absolute() / "sweep"))
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    # -- what there is ---------------------------------------------------------------------------------------------

    def trials(self) -> "list[FrozenTrial]":
        """All that count: asked for and not the same as another one."""
        every = self.optuna.get_trials(deepcopy=False)
        return [one for one in every if one.state.name != "WAITING" and "same_as" not in one.user_attrs]

    def run(self, trial: "FrozenTrial | Trial") -> Run | None:
        """A trial's run directory; None while there is none."""
        named = trial.id if isinstance(trial, Trial) else about(trial).get("id")
        found = [file.parent for file in self.directory.glob(f"{trial.number}-*-{named}/run.json")] if named else []
        return Run(found[0]) if found else None

    # -- what is next ------------------------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """A trial for this process to run; None where nothing is left to begin or to go on with."""
        with self.locked():
            for lost in self._lost():
                if not self.settle(lost):
                    return self._mine(lost)
            trials = self.trials()
            wanted = read(self.directory) or self.record  # more may have been asked for meanwhile
            if len(trials) >= wanted.trials or self.unmeasured():
                return None
            if self._waiting():  # one that a process was killed over
                return self._mine(self._ask())
            return self._another_seed(trials) or self._another_point(trials)

    def _lost(self) -> "Iterator[FrozenTrial]":
        """Trials that say that they are running, and whose process is gone."""
        for one in self.trials():
            if one.state.name == "RUNNING" and self.owner.gone(about(one).get("owner")):
                run = self.run(one)
                if run is None or not running_here(content(run)):
                    yield one

    def _waiting(self) -> bool:
        return any(one.state.name == "WAITING" for one in self.optuna.get_trials(deepcopy=False))

    def _another_seed(self, trials: "list[FrozenTrial]") -> Trial | None:
        """The first point that was not begun with each of the seeds yet."""
        begun: dict[int, set[str | None]] = {}
        for one in trials:
            begun.setdefault(about(one).get("point", one.number), set()).add(about(one).get("seed"))
        params = {one.number: one.params for one in trials}
        for point, seeds in begun.items():
            for seed in self.space.seeds:
                if seed not in seeds:
                    return self._enqueued(params[point], point=point, seed=seed)
        return None

    def _another_point(self, trials: "list[FrozenTrial]") -> Trial | None:
        """One that the sampler proposes; of a space that can be counted, one that was not tried."""
        if self.space.points is None:
            return self._mine(self._ask())
        tried = {place(one.params): one for one in trials}
        if self.record.sampler == "grid":
            fresh = next((point for point in counted(self.space) if place(point) not in tried), None)
            return None if fresh is None else self._enqueued(fresh)
        if len(tried) >= self.space.points:
            return None
        asked = self._ask()
        twin = tried.get(place(asked.params))
        if twin is None:
            return self._mine(asked)
        self._same(asked.number, twin)
        left = (point for point in counted(self.space) if place(point) not in tried)
        return self._enqueued(
            random.Random(f"{self.record.seed} {asked.number}").choice(list(itertools.islice(left, 10**5)))
        )

    def _same(self, number: int, twin: "FrozenTrial") -> None:
        """The sampler proposed what was tried: it is told what came of that, and the proposal does not count."""
        self.storage.set_trial_user_attr(self._trial_id(number), "same_as", twin.number)
        if twin.state.name == "COMPLETE":
            self.optuna.tell(number, twin.value)
        else:
            self.optuna.tell(number, state=_state("FAIL"))

    def _enqueued(self, params: dict[str, Any], **known: Any) -> Trial:
        self.optuna.enqueue_trial(params, user_attrs={"dlx": known})
        return self._mine(self._ask())

    def _ask(self) -> "optuna.Trial":
        every = self.optuna.get_trials(deepcopy=False)
        # A sampler with a seed begins anew in each process: the same numbers would be drawn again.
        self.optuna.sampler = sampler(self.record.sampler, self.record.seed * 1_000_003 + len(every))
        return self.optuna.ask(self.distributions)

    def _mine(self, trial: "FrozenTrial | optuna.Trial") -> Trial:
        """Put this process's name to a trial, and what its run is called."""
        seed = self.space.seeds[0] if self.space.seeds else None
        told = {"id": secrets.token_hex(4), "point": trial.number, "seed": seed, **about(trial)}
        told["owner"] = self.owner.name
        self.storage.set_trial_user_attr(self._trial_id(trial.number), "dlx", told)
        words = tuple(self.space.words(trial.params, told["seed"]))
        return Trial(trial.number, told["id"], words, begun=bool(about(trial).get("id")))

    def _trial_id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)

    # -- what came of it ---------------------------------------------------------------------------------------------

    def settle(self, trial: "FrozenTrial | Trial", died: str | None = None) -> bool:
        """Tell Optuna how a trial ended, by what its run directory says. Returns whether it has.

        A trial whose process was killed has not: it is left for the next one who asks, the first time.

        Args:
            trial: that this process ran, or whose process is gone.
            died: why it cannot have ended well, where nothing was written of it.
        """
        run = self.run(trial)
        known = content(run) if run else {}
        failure = next((one for one in read_failures(self.directory) if one.get("trial") == trial.number), None)
        if known.get("status") in ("finished", "pruned"):
            value = objective.value(known.get("metrics", {}), self.record.metric, self.record.own)
            if known["status"] == "pruned":
                self.optuna.tell(trial.number, state=_state("PRUNED"), skip_if_finished=True)
            elif math.isfinite(value):
                self.optuna.tell(trial.number, value, skip_if_finished=True)
            else:
                metrics = known.get("metrics", {})
                without = self.record.metric not in metrics
                self._fail(trial.number, {"error": self._missing(metrics), "unmeasured": without})
        elif died and not failure and known.get("status") != "failed" and self._spared(trial.number):
            return False
        elif known.get("status") == "failed" or failure or died:
            self._fail(trial.number, {"error": known.get("error") or died, **(failure or {})})
        else:
            return False
        return True

    def unmeasured(self) -> bool:
        """Whether some runs came to their end and none had the metric: the others would not have it either."""
        trials = self.trials()
        ended = [one for one in trials if one.state.name in ("COMPLETE", "PRUNED")]
        return not ended and sum("unmeasured" in one.user_attrs.get("failure", {}) for one in trials) >= ENOUGH

    def _spared(self, number: int) -> bool:
        """Whether a trial was killed for the first time; it belongs to nobody then."""
        told = about(self.optuna.get_trials(deepcopy=False)[number])
        if told.get("killed"):
            return False
        self.storage.set_trial_user_attr(self._trial_id(number), "dlx", {**told, "owner": None, "killed": True})
        return True

    def _missing(self, metrics: Mapping[str, float]) -> str:
        metric = self.record.metric
        if metric in metrics:
            return f"{metric} is {metrics[metric]}"
        return f"it has no {metric}; it has {', '.join(metrics) or 'no metrics'}"

    def _fail(self, number: int, failure: Mapping[str, Any]) -> None:
        known = {name: failure[name] for name in ("error", "place", "unmeasured") if failure.get(name)}
        self.storage.set_trial_user_attr(self._trial_id(number), "failure", known)
        self.optuna.tell(number, state=_state("FAIL"), skip_if_finished=True)


def about(trial: "FrozenTrial | optuna.Trial") -> dict[str, Any]:
    """What dlx noted of a trial: id, point, seed, owner."""
    return trial.user_attrs.get("dlx", {})


def content(run: Run) -> dict[str, Any]:
    """A run's run.json; empty while it is being made."""
    try:
        return run.read()
    except UsageError:
        return {}


def place(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A point, to be looked up; numbers of a grid to nine digits."""
    return tuple(sorted((name, f"{v:.9g}" if isinstance(v, float) else str(v)) for name, v in point.items()))


def distribution(dimension: Dimension) -> "BaseDistribution":
    """A dimension as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        step = 1 if dimension.step is None else int(dimension.step)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def sampler(name: str, seed: int) -> "BaseSampler":
    """Optuna's sampler of a name, for one proposal.

    Raises:
        UsageError: a package that it needs is missing.
    """
    from optuna import samplers

    seed %= 2**32
    if name == "tpe":
        return samplers.TPESampler(
            seed=seed, constant_liar=True
        )  # what runs elsewhere counts, as bad, until it is done
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed)


def pruner(name: str | None, epochs: int | None) -> "BasePruner":
    """Optuna's pruner of a name; epochs are its resource."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner()
    if name == "asha":
        return pruners.SuccessiveHalvingPruner()
    if name == "hyperband":
        return pruners.HyperbandPruner(max_resource=epochs or "auto")
    return pruners.NopPruner()


def _state(name: str) -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    return TrialState[name]
