"""A launcher's process: started once, it runs one job after another, so that torch is imported once.

It leaves the terminal's process group, so that a Ctrl-C reaches the launcher alone, which has every job save; and it
stops by itself, saving, when the launcher is gone.
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


def work(tasks: Connection, answers: Connection, environment: dict[str, str], setting: bytes) -> None:
    """Run the jobs that come, until none come any more.

    Args:
        tasks: numbers and overrides of jobs; its end means that the launcher is gone.
        answers: where what came of each is sent.
        environment: of this process.
        setting: Hydra's context, configuration, task function and state, pickled.
    """
    os.environ.update(environment)
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)  # training hears it by itself, and saves
    with contextlib.suppress(KeyboardInterrupt):
        import dlx.run  # noqa: F401 - while the launcher prepares the first job

        Plugins.instance()  # knows the sources of configuration files, and defines classes that the next line needs
        context, config, task, state = pickle.loads(setting)
        task = replace(task, quiet=True) if isinstance(task, Job) else task
        coming = Coming(tasks)
        while (job := coming.next()) is not None:
            answer = _answer(context, config, task, state, *job)
            coming.busy = False
            with contextlib.suppress(OSError):  # the launcher is gone
                answers.send_bytes(answer)


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


class Coming:
    """The jobs that come; when none can come any more, the one under way is told to save and stop.

    Args:
        tasks: where they come from.
    """

    def __init__(self, tasks: Connection) -> None:
        self.tasks, self.busy = tasks, False
        self.jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Any:
        """The next one; None at the end."""
        job = self.jobs.get()
        self.busy = job is not None
        return job

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.jobs.put(self.tasks.recv())
        self.jobs.put(None)
        if self.busy:
            os.kill(os.getpid(), signal.SIGTERM)


def states() -> dict[type, Any]:
    """What a job's composition reads of Hydra's state."""
    return {kind: kind.instance() for kind in (JobRuntime, VersionBase)}


def _answer(context: Any, config: Any, task: Any, state: Any, number: int, overrides: Sequence[str]) -> bytes:
    """One job. Returns its JobReturn, or an Interrupted, pickled."""
    setup_globals()
    for kind, one in state.items():
        Singleton._instances[kind] = one
    try:
        composed = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = str(number)
            composed.hydra.job.num = number
        HydraConfig.instance().set_config(composed)
        done = run_job(
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
        done = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        done.return_value = error
    done.cfg = done.hydra_cfg = None  # the launcher knows them
    try:
        return pickle.dumps(done)
    except Exception:  # an error that cannot be sent as it is
        done.return_value = RuntimeError(f"{type(done._return_value).__name__}: {done._return_value}")
        return pickle.dumps(done)
