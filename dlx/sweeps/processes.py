"""Jobs side by side in processes of this machine, one for each slot, each kept for the next job.

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
from dlx.sweeps.slots import Slot, slots
from dlx.sweeps.worker import states, work

PATIENCE = 60.0  # seconds for the jobs to save after a Ctrl-C
Words = Sequence[str]


class Worker:
    """One process and what it is doing.

    Args:
        slot: its share of the machine.
        setting: as `work` takes it.
    """

    def __init__(self, slot: Slot, setting: bytes) -> None:
        # The server imports torch once; each worker is a copy of it, before torch has any threads.
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(kind)
        if kind == "forkserver":
            context.set_forkserver_preload(["dlx.run"])
        theirs, self.tasks = context.Pipe(duplex=False)
        self.answers, sends = context.Pipe(duplex=False)
        arguments = (theirs, sends, slot.environment(), setting)
        self.process = context.Process(target=work, args=arguments)
        self.slot, self.job = slot, None  # type: tuple[Slot, tuple[Any, int, Words] | None]
        with _environment(slot.environment()):
            self.process.start()
        theirs.close()
        sends.close()

    def begin(self, job: tuple[Any, int, Words]) -> None:
        """Send it a job: whose it is, its number, its overrides."""
        self.job = job
        self.tasks.send(job[1:])

    def answer(self) -> Any:
        """What came of the job: a JobReturn or an Interrupted; None where the process died of it."""
        try:
            return pickle.loads(self.answers.recv_bytes())
        except (EOFError, OSError):
            self.process.join(10)
            return None

    def end(self) -> None:
        """No more jobs."""
        self.tasks.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()


class Processes(Launcher):
    """Hydra's launcher interface over workers.

    Args:
        jobs: at a time; `auto` for one a GPU, or one a core.
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

    def launch(self, job_overrides: Sequence[Words], initial_job_idx: int) -> Sequence[JobReturn]:
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        numbered = list(enumerate(job_overrides, initial_job_idx))
        done = {}
        for number, answer in self.stream(numbered, number=lambda key: key):
            done[number] = answer
            _tell(number, job_overrides[number - initial_job_idx], answer)
        return [done[number] for number, _ in numbered]

    def stream(
        self, jobs: Iterable[tuple[Any, Words]], number: Callable[[Any], int] = lambda key: key.number
    ) -> Iterator[tuple[Any, JobReturn]]:
        """Run jobs as they come and hand on what came of each, in the order in which they end.

        Args:
            jobs: a key and overrides of each; the next one is asked for when a slot is free.
            number: of a key, as Hydra counts its jobs.

        Raises:
            JobAborted: SIGINT or SIGTERM came; all jobs have saved.
        """
        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        setting = pickle.dumps((self.context, self.config, self.task, states()))
        places = slots(self.jobs, str(self.config.trainer.get("device", "auto")))
        coming = iter(jobs)
        workers: list[Worker] = []
        with _signals() as heard:
            try:
                while not heard and len(workers) < len(places) and (job := next(coming, None)) is not None:
                    workers.append(Worker(places[len(workers)], setting))
                    workers[-1].begin((job[0], number(job[0]), job[1]))
                while busy := {worker.answers: worker for worker in workers if worker.job is not None}:
                    for ready in wait(list(busy), timeout=0.2):
                        assert isinstance(ready, Connection)
                        worker = busy[ready]
                        assert worker.job is not None
                        key, answer = worker.job[0], worker.answer()
                        if answer is None and heard:  # before there was anything to save
                            answer = Interrupted("ended")
                        elif answer is None:
                            answer = self._died(worker)
                            workers[workers.index(worker)] = worker = Worker(worker.slot, setting)
                        worker.job = None
                        if isinstance(answer, JobReturn):
                            yield key, answer
                        if not heard and not isinstance(answer, Interrupted):
                            following = next(coming, None)
                            if following is not None:
                                worker.begin((following[0], number(following[0]), following[1]))
                    if heard:
                        heard.pass_on(workers)
                if heard:
                    raise JobAborted(Interrupted(f"stopped by {heard.name}; the jobs have saved"))
            finally:
                for worker in workers:
                    worker.end()

    def _died(self, worker: Worker) -> JobReturn:
        assert worker.job is not None
        _, number, overrides = worker.job
        code = worker.process.exitcode
        why = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        error = TrainingError(f"the process of the job was ended {why}; where that was the system, memory may be short")
        record_failure(Path(str(self.config.hydra.sweep.dir)), number, overrides, error)
        answer = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        answer.return_value = error
        return answer


class Heard:
    """Whether SIGINT or SIGTERM came."""

    name: str | None = None
    since = 0.0

    def __bool__(self) -> bool:
        return self.name is not None

    def hear(self, number: int, frame: Any) -> None:
        """A second one stops at once."""
        if self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    def pass_on(self, workers: Sequence[Worker]) -> None:
        """Have every job that runs save and stop, once; one that takes too long is ended."""
        if not self.since:
            self.since = time.monotonic()
            for worker in workers:
                if worker.job is not None:
                    worker.process.terminate()
        elif time.monotonic() - self.since > PATIENCE:
            raise KeyboardInterrupt


@contextmanager
def _signals() -> Iterator[Heard]:
    """Hear SIGINT and SIGTERM for a while."""
    heard, before = Heard(), {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, heard.hear)
    except ValueError:  # not the main thread
        pass
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Variables as a process is to inherit them."""
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


def _tell(number: int, overrides: Words, answer: JobReturn) -> None:
    """A line for a job of a plain multirun."""
    value = answer._return_value
    words = " ".join(word for word in overrides if not word.startswith("hydra."))
    told = f"{value:.4g}" if isinstance(value, float) else "failed" if isinstance(value, BaseException) else "finished"
    print(f"job {number} {words} · {told}", file=sys.stdout, flush=True)
