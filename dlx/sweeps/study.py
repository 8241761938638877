"""The trials of a sweep, kept by Optuna in a journal file that several processes, on several machines, write to.

The next trial is chosen under one lock: a trial whose process has died is taken over, every point gets all its seeds,
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
from dlx.sweeps.heartbeat import Heartbeat, is_running_here
from dlx.sweeps.record import Record, read_record
from dlx.sweeps.space import Choices, Dimension, Space, iterate_points

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileOpenLock
    from optuna.trial import FrozenTrial

STUDY_NAME = "sweep"  # the name of Optuna's study within its journal
JOURNAL = "journal.log"
MAX_WITHOUT_METRIC = 3  # finished runs without the metric, after which a sweep ends


@dataclass(frozen=True)
class Trial:
    """A run to begin, or to resume."""

    number: int
    id: str  # eight hexadecimal digits, at the end of its directory's name
    overrides: tuple[str, ...]
    has_begun: bool = False  # there may be a run directory to resume


def open_storage(directory: Path, fsync: bool = True) -> "JournalStorage":
    """Open a sweep's journal.

    Args:
        directory: of the sweep.
        fsync: force each write to the disk; a pruner's many values need not outlive a power cut.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    file = str(directory.absolute() / JOURNAL)
    if fsync:
        return JournalStorage(JournalFileBackend(file, lock_obj=_make_lock(file)))
    from dlx.sweeps.journal import UnsyncedJournalBackend

    return JournalStorage(UnsyncedJournalBackend(file, lock_obj=_make_lock(file)))


def _make_lock(file: str) -> "JournalFileOpenLock":
    """Return a lock for local and network file systems alike; one that a killed process left is broken after 30 s."""
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(file)


class Study:
    """A sweep's trials, as one of the processes that work on it sees them.

    Args:
        directory: of the sweep.
        record: the sweep's settings.
        space: the record's overrides, as a search space.
        heartbeat: of this process.
        epochs: of a run, where all have the same.
    """

    def __init__(
        self, directory: Path, record: Record, space: Space, heartbeat: Heartbeat, epochs: int | None = None
    ) -> None:
        import optuna

        from dlx.sweeps.journal import repair_journal

        self.directory, self.record, self.space, self.heartbeat = directory, record, space, heartbeat
        direction: Literal["maximize", "minimize"] = "maximize" if record.mode == "max" else "minimize"
        self.pruner = make_pruner(record.prune, epochs)
        with self.lock():
            repair_journal(directory / JOURNAL, _make_lock(str(directory.absolute() / JOURNAL)))
            self.storage = open_storage(directory)
            self.optuna_study = optuna.create_study(
                storage=self.storage,
                study_name=STUDY_NAME,
                direction=direction,
                pruner=self.pruner,
                load_if_exists=True,
            )
        self.id = self.storage.get_study_id_from_name(STUDY_NAME)
        self.distributions = {one.name: make_distribution(one) for one in space.dimensions}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time into the block."""
        lock = _make_lock(str(self.directory.absolute() / "sweep"))
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    # -- what there is ---------------------------------------------------------------------------------------------

    def get_trials(self) -> "list[FrozenTrial]":
        """Return the trials that count: those that were asked for and do not repeat another one."""
        stored = self.optuna_study.get_trials(deepcopy=False)
        return [one for one in stored if one.state.name != "WAITING" and "same_as" not in one.user_attrs]

    def find_run(self, trial: "FrozenTrial | Trial") -> Run | None:
        """Return a trial's run directory; None while there is none."""
        named = trial.id if isinstance(trial, Trial) else get_trial_info(trial).get("id")
        found = [file.parent for file in self.directory.glob(f"{trial.number}-*-{named}/run.json")] if named else []
        return Run(found[0]) if found else None

    # -- what is next ------------------------------------------------------------------------------------------------

    def claim_next(self) -> Trial | None:
        """Choose the next trial for this process to run. Returns None where nothing is left to begin or to resume."""
        with self.lock():
            for lost in self._find_lost():
                if not self.settle(lost):
                    return self._claim(lost)
            trials = self.get_trials()
            wanted = read_record(self.directory) or self.record  # another process may have asked for more trials
            if len(trials) >= wanted.trials or self.is_metric_missing():
                return None
            if self._has_waiting():  # it was queued by a process that was then killed
                return self._claim(self._ask_sampler())
            return self._claim_next_seed(trials) or self._claim_next_point(trials)

    def _find_lost(self) -> "Iterator[FrozenTrial]":
        """Yield the trials that are marked as running, and whose process has died."""
        for one in self.get_trials():
            if one.state.name == "RUNNING" and self.heartbeat.is_dead(get_trial_info(one).get("owner")):
                run = self.find_run(one)
                if run is None or not is_running_here(read_run(run)):
                    yield one

    def _has_waiting(self) -> bool:
        """Whether a trial is queued."""
        return any(one.state.name == "WAITING" for one in self.optuna_study.get_trials(deepcopy=False))

    def _claim_next_seed(self, trials: "list[FrozenTrial]") -> Trial | None:
        """Claim the first point that was not begun with each of the seeds yet."""
        begun: dict[int, set[str | None]] = {}
        for one in trials:
            begun.setdefault(get_trial_info(one).get("point", one.number), set()).add(get_trial_info(one).get("seed"))
        params = {one.number: one.params for one in trials}
        for point, seeds in begun.items():
            for seed in self.space.seeds:
                if seed not in seeds:
                    return self._enqueue(params[point], point=point, seed=seed)
        return None

    def _claim_next_point(self, trials: "list[FrozenTrial]") -> Trial | None:
        """Claim a point that the sampler proposes; of a space that can be counted, one that was not tried."""
        if self.space.n_points is None:
            return self._claim(self._ask_sampler())
        tried = {make_point_key(one.params): one for one in trials}
        if self.record.sampler == "grid":
            untried = next((point for point in iterate_points(self.space) if make_point_key(point) not in tried), None)
            return None if untried is None else self._enqueue(untried)
        if len(tried) >= self.space.n_points:
            return None
        proposed = self._ask_sampler()
        twin = tried.get(make_point_key(proposed.params))
        if twin is None:
            return self._claim(proposed)
        self._record_duplicate(proposed.number, twin)
        left = (point for point in iterate_points(self.space) if make_point_key(point) not in tried)
        return self._enqueue(
            random.Random(f"{self.record.seed} {proposed.number}").choice(list(itertools.islice(left, 10**5)))
        )

    def _record_duplicate(self, number: int, twin: "FrozenTrial") -> None:
        """Tell the sampler, for a proposal that repeats a trial, that trial's value; the proposal does not count."""
        self.storage.set_trial_user_attr(self._get_trial_id(number), "same_as", twin.number)
        if twin.state.name == "COMPLETE":
            self.optuna_study.tell(number, twin.value)
        else:
            self.optuna_study.tell(number, state=_get_trial_state("FAIL"))

    def _enqueue(self, params: dict[str, Any], **known: Any) -> Trial:
        """Put a trial of these values into Optuna's queue, and claim it."""
        self.optuna_study.enqueue_trial(params, user_attrs={"dlx": known})
        return self._claim(self._ask_sampler())

    def _ask_sampler(self) -> "optuna.Trial":
        """Return the next queued trial, or one that the sampler proposes."""
        stored = self.optuna_study.get_trials(deepcopy=False)
        # A seeded sampler starts anew in each process: it would draw the same numbers again.
        self.optuna_study.sampler = make_sampler(self.record.sampler, self.record.seed * 1_000_003 + len(stored))
        return self.optuna_study.ask(self.distributions)

    def _claim(self, trial: "FrozenTrial | optuna.Trial") -> Trial:
        """Note this process as a trial's owner, and the id of its run."""
        seed = self.space.seeds[0] if self.space.seeds else None
        info = {"id": secrets.token_hex(4), "point": trial.number, "seed": seed, **get_trial_info(trial)}
        info["owner"] = self.heartbeat.name
        self.storage.set_trial_user_attr(self._get_trial_id(trial.number), "dlx", info)
        overrides = tuple(self.space.make_overrides(trial.params, info["seed"]))
        return Trial(trial.number, info["id"], overrides, has_begun=bool(get_trial_info(trial).get("id")))

    def _get_trial_id(self, number: int) -> int:
        """Return the id by which Optuna's storage knows a trial."""
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)

    # -- what came of it ---------------------------------------------------------------------------------------------

    def settle(self, trial: "FrozenTrial | Trial", death: str | None = None) -> bool:
        """Tell Optuna how a trial ended, by what its run directory says. Returns whether it has ended.

        A trial whose process was killed for the first time has not: the next process to ask resumes it.

        Args:
            trial: that this process ran, or whose process has died.
            death: why its process died, where it did.
        """
        run = self.find_run(trial)
        known = read_run(run) if run else {}
        failure = next((one for one in read_failures(self.directory) if one.get("trial") == trial.number), None)
        if known.get("status") in ("finished", "pruned"):
            value = objective.get_final_value(known.get("metrics", {}), self.record.metric, self.record.own)
            if known["status"] == "pruned":
                self.optuna_study.tell(trial.number, state=_get_trial_state("PRUNED"), skip_if_finished=True)
            elif math.isfinite(value):
                self.optuna_study.tell(trial.number, value, skip_if_finished=True)
            else:
                metrics = known.get("metrics", {})
                without = self.record.metric not in metrics
                self._fail(trial.number, {"error": self._explain_missing(metrics), "unmeasured": without})
        elif death and not failure and known.get("status") != "failed" and self._release_killed(trial.number):
            return False
        elif known.get("status") == "failed" or failure or death:
            self._fail(trial.number, {"error": known.get("error") or death, **(failure or {})})
        else:
            return False
        return True

    def is_metric_missing(self) -> bool:
        """Whether some runs have finished and none has the metric: the others would not have it either."""
        trials = self.get_trials()
        ended = [one for one in trials if one.state.name in ("COMPLETE", "PRUNED")]
        return (
            not ended and sum("unmeasured" in one.user_attrs.get("failure", {}) for one in trials) >= MAX_WITHOUT_METRIC
        )

    def _release_killed(self, number: int) -> bool:
        """Disown a trial that was killed for the first time. Returns whether it was the first time."""
        info = get_trial_info(self.optuna_study.get_trials(deepcopy=False)[number])
        if info.get("killed"):
            return False
        self.storage.set_trial_user_attr(self._get_trial_id(number), "dlx", {**info, "owner": None, "killed": True})
        return True

    def _explain_missing(self, metrics: Mapping[str, float]) -> str:
        """Say why a finished run has no value of the metric."""
        metric = self.record.metric
        if metric in metrics:
            return f"{metric} is {metrics[metric]}"
        return f"it has no {metric}; it has {', '.join(metrics) or 'no metrics'}"

    def _fail(self, number: int, failure: Mapping[str, Any]) -> None:
        """Note a trial's failure, and tell Optuna."""
        known = {name: failure[name] for name in ("error", "place", "unmeasured") if failure.get(name)}
        self.storage.set_trial_user_attr(self._get_trial_id(number), "failure", known)
        self.optuna_study.tell(number, state=_get_trial_state("FAIL"), skip_if_finished=True)


def get_trial_info(trial: "FrozenTrial | optuna.Trial") -> dict[str, Any]:
    """Return what dlx noted of a trial: id, point, seed, owner."""
    result: dict[str, Any] = trial.user_attrs.get("dlx", {})
    return result


def read_run(run: Run) -> dict[str, Any]:
    """Return a run's run.json; empty while it is being written."""
    try:
        return run.read()
    except UsageError:
        return {}


def make_point_key(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return a point as a dictionary's key; numbers to nine digits."""
    return tuple(sorted((name, f"{v:.9g}" if isinstance(v, float) else str(v)) for name, v in point.items()))


def make_distribution(dimension: Dimension) -> "BaseDistribution":
    """Return a dimension as Optuna's distribution."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.is_integer:
        step = 1 if dimension.step is None else int(dimension.step)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def make_sampler(name: str, seed: int) -> "BaseSampler":
    """Return Optuna's sampler of this name, for one proposal.

    Raises:
        UsageError: a package that it needs is missing.
    """
    from optuna import samplers

    seed %= 2**32
    if name == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=True)  # running trials count as bad until they end
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.RandomSampler(seed=seed)


def make_pruner(name: str | None, epochs: int | None) -> "BasePruner":
    """Return Optuna's pruner of this name; epochs are its resource."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner()
    if name == "asha":
        return pruners.SuccessiveHalvingPruner()
    if name == "hyperband":
        return pruners.HyperbandPruner(max_resource=epochs or "auto")
    return pruners.NopPruner()


def _get_trial_state(name: str) -> "optuna.trial.TrialState":
    """Return Optuna's state of this name, without importing Optuna at start."""
    from optuna.trial import TrialState

    return TrialState[name]
