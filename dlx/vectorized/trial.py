"""One trial of a stack: a run like any other, except that the stack takes its steps."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.state import get_dataset_state
from dlx.hardware.out_of_memory import explain_oom
from dlx.hardware.random_state import get_random_state, set_random_state
from dlx.loggers.choice import make_loggers
from dlx.loggers.histogram import Histogram
from dlx.parts import Parts
from dlx.run import create_run, finish, log_config_and_graph, make_run_logger, record_outcome, to_dict
from dlx.terminal.progress import Progress
from dlx.training.checkpoint import Checkpoints
from dlx.training.trainer import Trainer

CHECK_EVERY = 2.0  # seconds between checks, while the losses are finite


class TrialTrainer(Trainer):
    """A trainer whose steps and validations the stack computes; all that follows from them it does itself.

    Args:
        trainer: as it was built.
        random: the random state with which a run alone would take its first step.
    """

    def __init__(self, trainer: Trainer, random: dict[str, Any]) -> None:
        self.__dict__.update(trainer.__dict__)
        self.generator = torch.Generator(self.device)  # the steps draw from it, as those of a run alone
        self.random = random
        self._restore_generator()
        self.stack_metrics: dict[str, dict[str, float]] = {}  # by split, as the stack computed them
        self.get_stack_histograms: Callable[[], Mapping[str, Histogram | None]] = dict  # of the weights
        self._in_random_state = False
        self.is_finite = True  # whether all values of the steps since the last log are
        self.checked_at = time.monotonic()

    def record_steps(self, steps: Sequence[Mapping[str, Tensor]]) -> None:
        """Count steps and log their values, 0-d on the CPU."""
        log = self.logger.scalars
        for values in steps:
            self.step += 1
            self.step_in_epoch += 1
            batch, before = self.data.batch, (self.step_in_epoch - 1) * self.data.batch
            self._accumulate(values, min(batch, self.data.examples - before))
            log("train", values, self.step)

    def _check_finite(self) -> None:
        """Check as a run alone does, but every few seconds while all is finite, not every so many steps."""
        now = time.monotonic()
        if self.is_finite and now - self.checked_at < CHECK_EVERY:
            return
        self.checked_at = now
        super()._check_finite()

    def evaluate(self, split: str) -> dict[str, float]:
        return self.stack_metrics[split] if split in self.stack_metrics else super().evaluate(split)

    def compute_histograms(self) -> Mapping[str, Histogram | None]:
        return self.get_stack_histograms()

    def log_pictures(self) -> None:
        with self.use_random_state():
            super().log_pictures()

    def make_checkpoint(self) -> dict[str, Any]:
        content: dict[str, Any] = clone_tensors({**super().make_checkpoint(), "random": self._get_random_state()})
        return content

    def _get_random_state(self) -> dict[str, Any]:
        """Return the random state after what the generator has drawn."""
        state = self.generator.get_state()
        if self.device.type == "cuda":
            return {**self.random, "cuda": [state]}
        return {**self.random, "torch": state}

    def _restore_generator(self) -> None:
        """Set the generator to the random state."""
        cuda = self.device.type == "cuda"
        self.generator.set_state(self.random["cuda"][0] if cuda else self.random["torch"])

    @contextlib.contextmanager
    def use_random_state(self) -> Iterator[None]:
        """Draw this trial's random numbers within the block."""
        if self._in_random_state:
            yield
            return
        before, self._in_random_state = get_random_state(), True
        set_random_state(self._get_random_state())
        try:
            yield
        finally:
            self.random, self._in_random_state = get_random_state(), False
            self._restore_generator()
            set_random_state(before)


def clone_tensors(content: Any) -> Any:
    """Return a copy with tensors of its own: of a view torch would save the whole stack."""
    if isinstance(content, Tensor):
        return content.detach().clone()
    if isinstance(content, dict):
        return {name: clone_tensors(value) for name, value in content.items()}
    if isinstance(content, list):
        return [clone_tensors(value) for value in content]
    return content


class Trial:
    """A trial's parts, and the run directory that they write.

    Args:
        parts: as `assemble` returns them.
        directory: of the run.
        about: what `run.json` says besides metrics.
        random: see `TrialTrainer`.
    """

    def __init__(self, parts: Parts, directory: Path, about: dict[str, Any], random: dict[str, Any]) -> None:
        self.parts, self.directory, self.about = parts, directory, about
        self.member = TrialTrainer(parts.trainer, random)
        self.metrics: dict[str, float] | None = None
        self.error: BaseException | None = None
        self.ended = False
        self.notices: list[str] = []  # to be printed
        self._closing = contextlib.ExitStack()

    def open(self) -> None:
        """Create the run, and write what it holds before the first step.

        Raises:
            UsageError: the directory holds a run already, or cannot be written.
        """
        parts, member = self.parts, self.member
        loggers = make_loggers(parts.config)
        self.run = create_run(self.directory, parts, self.about)
        self._closing.enter_context(record_outcome(self.run, member, time.monotonic()))
        self._closing.enter_context(explain_oom())
        logger = make_run_logger(self.run, self._get_parts(), loggers, False, report=self.notices.append)
        checkpoints = Checkpoints(self.run.checkpoints, get_dataset_state(parts.dataset))
        self._closing.callback(logger.close)
        member.attach(parts.model, parts.task, parts.procedure, parts.data, logger, checkpoints, Progress(quiet=True))
        member.logger.hparams(to_dict(parts.config))
        with member.use_random_state():
            log_config_and_graph(parts, member.logger, self.run.read().get("notes", []))
        parts.model.train()
        member.call("on_fit_start")
        member.saved_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the training is at its end."""
        return self.member._is_done()

    def end(self) -> None:
        """Finish the run: save the last checkpoint, evaluate the test split, draw the pictures."""
        member = self.member
        member.finished = True
        member.stack_metrics.clear()
        with self.catch_failure():
            member._save()
            member.call("on_fit_end")
            with member.use_random_state():
                self.metrics = finish(self.run, self._get_parts(), member.logger)
            self.ended = True
            self._closing.close()

    def _get_parts(self) -> Parts:
        """Return the parts with the trial's own trainer."""
        return self.parts._replace(trainer=self.member)

    @contextlib.contextmanager
    def catch_failure(self) -> Iterator[None]:
        """Close this trial's run with an error that is raised within the block; the others go on."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Close the run with an error."""
        self.ended, self.error = True, error
        try:
            self._closing.__exit__(type(error), error, error.__traceback__)
        except Exception as explained_error:  # out of memory, explained
            self.error = explained_error
