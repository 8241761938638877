"""A launcher that runs jobs side by side in worker processes, one for each slot, each kept for the next job.

`hydra/launcher=processes` for a multirun, `--jobs` of `dlx sweep`.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dlx.errors import Interrupted, TrainingError, UsageError
from dlx.job import JobAborted
from dlx.runs.failures import record_failure
from dlx.sweeps.slots import Slot, make_slots
from dlx.sweeps.worker import get_hydra_state, run_jobs

SAVE_TIMEOUT = 60.0  # seconds for the jobs to save after a Ctrl-C
Overrides = Sequence[str]


class Worker:
    """A worker process and the job that it runs.

    Args:
        slot: its share of the machine.
        hydra_state: as `run_jobs` takes it.
    """

    def __init__(self, slot: Slot, hydra_state: bytes) -> None:
        # The server imports torch once; each worker is a copy of it, before torch has any threads.
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(kind)
        if kind == "forkserver":
            context.set_forkserver_preload(["dlx.run"])
        receiver, self.tasks = context.Pipe(duplex=False)
        self.results, sender = context.Pipe(duplex=False)
        arguments = (receiver, sender, slot.environment, hydra_state)
        self.process = context.Process(target=run_jobs, args=arguments)
        self.slot, self.job = slot, None  # type: tuple[Slot, tuple[Any, int, Overrides] | None]
        with _set_environment(slot.environment):
            self.process.start()
        receiver.close()
        sender.close()

    def send(self, job: tuple[Any, int, Overrides]) -> None:
        """Send the worker a job: its key, number and overrides."""
        self.job = job
        self.tasks.send(job[1:])

    def receive(self) -> Any:
        """Return the job's result: a JobReturn or an Interrupted; None where the process died."""
        try:
            return pickle.loads(self.results.recv_bytes())
        except (EOFError, OSError):
            self.process.join(10)
            return None

    def close(self) -> None:
        """Let the process end, since no more jobs come; kill it if it does not."""
        self.tasks.close()
        self.process.join(SAVE_TIMEOUT)
        if self.process.is_alive():
            self.process.kill()


class Processes(Launcher):
    """Hydra's launcher interface over worker processes.

    Args:
        jobs: how many run at a time; `auto` for one a GPU, or one a core.
    """

    def __init__(self, jobs: int | str = "auto") -> None:
        if not (jobs == "auto" or (isinstance(jobs, int) and not isinstance(jobs, bool) and jobs >= 1)):
            raise JobAborted(
                UsageError(
                    f"hydra.launcher.jobs={jobs} was given; needed: a number of jobs; type hydra.launcher.jobs=2"
                )
            )
        self.jobs = None if jobs == "auto" else int(jobs)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Overrides], initial_job_idx: int) -> Sequence[JobReturn]:
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        numbered = list(enumerate(job_overrides, initial_job_idx))
        done = {}
        for number, result in self.iterate_results(numbered, number=lambda key: key):
            done[number] = result
            _print_result(number, job_overrides[number - initial_job_idx], result)
        return [done[number] for number, _ in numbered]

    def iterate_results(
        self, jobs: Iterable[tuple[Any, Overrides]], number: Callable[[Any], int] = lambda key: key.number
    ) -> Iterator[tuple[Any, JobReturn]]:
        """Run jobs as they come and yield their keys and results, in the order in which they end.

        Args:
            jobs: a key and the overrides of each; the next one is asked for when a slot is free.
            number: returns a key's number, as Hydra counts its jobs.

        Raises:
            JobAborted: SIGINT or SIGTERM came; all jobs have saved.
        """
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        hydra_state = pickle.dumps((self.context, self.config, self.task, get_hydra_state()))
        slots = make_slots(self.jobs, str(self.config.trainer.get("device", "auto")))
        remaining = iter(jobs)
        workers: list[Worker] = []
        with _catch_stop_signals() as stop:
            try:
                while not stop and len(workers) < len(slots) and (job := next(remaining, None)) is not None:
                    workers.append(Worker(slots[len(workers)], hydra_state))
                    workers[-1].send((job[0], number(job[0]), job[1]))
                while busy := {worker.results: worker for worker in workers if worker.job is not None}:
                    for ready in wait(list(busy), timeout=0.2):
                        assert isinstance(ready, Connection)
                        worker = busy[ready]
                        assert worker.job is not None
                        key, result = worker.job[0], worker.receive()
                        if result is None and stop:  # before there was anything to save
                            result = Interrupted("ended")
                        elif result is None:
                            result = self._record_death(worker)
                            workers[workers.index(worker)] = worker = Worker(worker.slot, hydra_state)
                        worker.job = None
                        if isinstance(result, JobReturn):
                            yield key, result
                        if not stop and not isinstance(result, Interrupted):
                            following = next(remaining, None)
                            if following is not None:
                                worker.send((following[0], number(following[0]), following[1]))
                    if stop:
                        stop.terminate_jobs(workers)
                if stop:
                    raise JobAborted(Interrupted(f"stopped by {stop.name}; the jobs have saved"))
            finally:
                for worker in workers:
                    worker.close()

    def _record_death(self, worker: Worker) -> JobReturn:
        """Record that a worker's process died of its job. Returns the failed job's result."""
        assert worker.job is not None
        _, number, overrides = worker.job
        code = worker.process.exitcode
        why = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        error = TrainingError(f"the process of the job was ended {why}; where that was the system, memory may be short")
        record_failure(Path(str(self.config.hydra.sweep.dir)), number, overrides, error)
        result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        result.return_value = error
        return result


class StopSignal:
    """A signal to stop, SIGINT or SIGTERM; true once it has come."""

    name: str | None = None
    terminated_at = 0.0

    def __bool__(self) -> bool:
        return self.name is not None

    def handle(self, number: int, frame: Any) -> None:
        """Note the first signal; a second one stops at once."""
        if self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    def terminate_jobs(self, workers: Sequence[Worker]) -> None:
        """Tell every running job, once, to save and stop.

        Raises:
            KeyboardInterrupt: they take too long.
        """
        if not self.terminated_at:
            self.terminated_at = time.monotonic()
            for worker in workers:
                if worker.job is not None:
                    worker.process.terminate()
        elif time.monotonic() - self.terminated_at > SAVE_TIMEOUT:
            raise KeyboardInterrupt


@contextmanager
def _catch_stop_signals() -> Iterator[StopSignal]:
    """Catch SIGINT and SIGTERM within the block."""
    stop, before = StopSignal(), {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop.handle)
    except ValueError:  # not the main thread
        pass
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _set_environment(changes: dict[str, str]) -> Iterator[None]:
    """Set environment variables within the block, for a process to inherit."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _print_result(number: int, overrides: Overrides, result: JobReturn) -> None:
    """Print a line for a job of a plain multirun."""
    value = result._return_value
    words = " ".join(word for word in overrides if not word.startswith("hydra."))
    outcome = (
        f"{value:.4g}" if isinstance(value, float) else "failed" if isinstance(value, BaseException) else "finished"
    )
    print(f"job {number} {words} · {outcome}", file=sys.stdout, flush=True)
