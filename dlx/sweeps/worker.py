"""A launcher's worker process: started once, it runs one job after another, so that torch is imported once.

It leaves the terminal's process group, so that a Ctrl-C reaches only the launcher, which has every job save; and it
saves and stops by itself when the launcher is gone.
"""

import contextlib
import os
import pickle
import queue
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.version import VersionBase
from omegaconf import open_dict

from dlx.errors import Interrupted
from dlx.job import Job, JobAborted


def run_jobs(tasks: Connection, results: Connection, environment: dict[str, str], hydra_state: bytes) -> None:
    """Run jobs until no more come.

    Args:
        tasks: receives the jobs' numbers and overrides; its end means that the launcher is gone.
        results: sends each job's result.
        environment: variables of this process.
        hydra_state: Hydra's context, configuration, task function and singletons, pickled.
    """
    os.environ.update(environment)
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _raise_interrupt)  # a training handles it by itself, and saves
    with contextlib.suppress(KeyboardInterrupt):
        import dlx.run  # noqa: F401 - while the launcher composes the first job

        Plugins.instance()  # finds the config sources, and defines classes that the next line needs
        context, config, task, singletons = pickle.loads(hydra_state)
        task = replace(task, quiet=True) if isinstance(task, Job) else task
        jobs = JobQueue(tasks)
        while (job := jobs.get()) is not None:
            result = _run_job(context, config, task, singletons, *job)
            jobs.is_busy = False
            with contextlib.suppress(OSError):  # the launcher is gone
                results.send_bytes(result)


def _raise_interrupt(number: int, frame: Any) -> None:
    """Handle a signal by raising KeyboardInterrupt."""
    raise KeyboardInterrupt


class JobQueue:
    """The jobs that the launcher sends; when it is gone, the running one is told to save and stop.

    Args:
        tasks: receives them.
    """

    def __init__(self, tasks: Connection) -> None:
        self.tasks, self.is_busy = tasks, False
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def get(self) -> Any:
        """Wait for the next job. Returns None at the end."""
        job = self.jobs.get()
        self.is_busy = job is not None
        return job

    def _listen(self) -> None:
        """Queue what the launcher sends, until it is gone."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.jobs.put(self.tasks.recv())
        self.jobs.put(None)
        if self.is_busy:
            os.kill(os.getpid(), signal.SIGTERM)


def get_hydra_state() -> dict[type, Any]:
    """Return the singletons that Hydra reads when it composes a job."""
    return {kind: kind.instance() for kind in (JobRuntime, VersionBase)}


def _run_job(context: Any, config: Any, task: Any, singletons: Any, number: int, overrides: Sequence[str]) -> bytes:
    """Run one job. Returns its JobReturn, or an Interrupted, pickled."""
    setup_globals()
    for kind, one in singletons.items():
        Singleton._instances[kind] = one
    try:
        composed = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = str(number)
            composed.hydra.job.num = number
        HydraConfig.instance().set_config(composed)
        result = run_job(
            hydra_context=context,
            task_function=task,
            config=composed,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except JobAborted as stop:
        return pickle.dumps(stop.error)
    except KeyboardInterrupt:
        return pickle.dumps(Interrupted("stopped before there was anything to save"))
    except Exception as error:
        result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        result.return_value = error
    result.cfg = result.hydra_cfg = None  # the launcher knows them
    try:
        return pickle.dumps(result)
    except Exception:  # an error that cannot be pickled
        result.return_value = RuntimeError(f"{type(result._return_value).__name__}: {result._return_value}")
        return pickle.dumps(result)
