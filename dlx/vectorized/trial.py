"""One trial of a stack: a run like any other, but for who takes its steps."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlx.hardware.out_of_memory import explained
from dlx.hardware.random_state import get_random_state, set_random_state
from dlx.parts import Parts
from dlx.run import books, created, finish, introduce, to_dict
from dlx.terminal.progress import Progress
from dlx.training.checkpoint import Checkpoints
from dlx.training.trainer import Trainer

WRITTEN_EVERY = 2.0  # seconds


class Member(Trainer):
    """A trainer whose steps and validations are made elsewhere; all that follows from them is its own.

    Args:
        trainer: as it was built.
        random: the random numbers' state where a lone run would take its first step.
    """

    def __init__(self, trainer: Trainer, random: dict[str, Any]) -> None:
        self.__dict__.update(trainer.__dict__)
        self.generator = torch.Generator(self.device)  # of what the steps draw, as a lone run draws it
        self.random = random
        self._heed()
        self.measured: dict[str, dict[str, float]] = {}  # by split: what the stack found
        self.histograms: Callable[[], Mapping[str, bytes | None]] = dict  # of the weights, from the stack
        self._drawing = False
        self.finite = True  # all that the steps gave since the last look
        self.written_at = time.monotonic()

    def took(self, steps: Sequence[Mapping[str, Tensor]]) -> None:
        """Count and log what each of some steps gave, values 0-d on the processor."""
        log = self.logger.scalars
        for values in steps:
            self.step += 1
            self.step_in_epoch += 1
            self._note(values)  # type: ignore[arg-type]
            log("train", values, self.step)

    def _check(self) -> None:
        """As a lone run's, but what is finite is written each second or so, not fifty steps at a time."""
        now = time.monotonic()
        if self.finite and now - self.written_at < WRITTEN_EVERY:
            return
        self.written_at = now
        super()._check()

    def evaluate(self, split: str) -> dict[str, float]:
        return self.measured[split] if split in self.measured else super().evaluate(split)

    def _histograms(self) -> Mapping[str, bytes | None]:
        return self.histograms()

    def pictures(self) -> None:
        with self.drawing():
            super().pictures()

    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = owned({**super().content(), "random": self._drawn()})
        return found

    def _drawn(self) -> dict[str, Any]:
        """The random numbers' state after what the generator has drawn."""
        state = self.generator.get_state()
        if self.device.type == "cuda":
            return {**self.random, "cuda": [state]}
        return {**self.random, "torch": state}

    def _heed(self) -> None:
        """Let the generator go on from the random numbers' state."""
        cuda = self.device.type == "cuda"
        self.generator.set_state(self.random["cuda"][0] if cuda else self.random["torch"])

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw this trial's random numbers for a while."""
        if self._drawing:
            yield
            return
        before, self._drawing = get_random_state(), True
        set_random_state(self._drawn())
        try:
            yield
        finally:
            self.random, self._drawing = get_random_state(), False
            self._heed()
            set_random_state(before)


def owned(content: Any) -> Any:
    """The same with tensors of its own: of a view torch would save the whole stack."""
    if isinstance(content, Tensor):
        return content.detach().clone()
    if isinstance(content, dict):
        return {name: owned(value) for name, value in content.items()}
    if isinstance(content, list):
        return [owned(value) for value in content]
    return content


class Trial:
    """A run directory, and what is written into it.

    Args:
        parts: as `assemble` made them.
        directory: of the run.
        about: what `run.json` says beside what is measured.
        random: see `Member`.
    """

    def __init__(self, parts: Parts, directory: Path, about: dict[str, Any], random: dict[str, Any]) -> None:
        self.parts, self.directory, self.about = parts, directory, about
        self.member = Member(parts.trainer, random)
        self.metrics: dict[str, float] | None = None
        self.error: BaseException | None = None
        self.ended = False
        self._closing = contextlib.ExitStack()

    def open(self) -> None:
        """Make the run, and write what stands in it before the first step.

        Raises:
            UsageError: the directory holds a run already, or cannot be written.
        """
        parts, member = self.parts, self.member
        self.run = created(self.directory, parts, self.about)
        self._closing.enter_context(books(self.run, member, time.monotonic()))
        self._closing.enter_context(explained())
        member.model, member.task, member.procedure = parts.model, parts.task, parts.procedure
        member.data, member.progress = parts.data, Progress(quiet=True)
        member.checkpoints = Checkpoints(self.run.checkpoints)
        member.logger = member.make_logger(self.directory)
        self._closing.callback(member.logger.close)
        member.logger.hparams(to_dict(parts.config))
        with member.drawing():
            introduce(parts, member.logger)
        parts.model.train()
        member.saved_at = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the training is at its end."""
        return self.member._over()

    def end(self) -> None:
        """The last checkpoint, the test split, the pictures; the run is finished."""
        member = self.member
        member.finished = True
        member.measured.clear()
        with self.failing():
            member._save()
            with member.drawing():
                self.metrics = finish(self.run, self._as_member(), member.logger)
            self.ended = True
            self._closing.close()

    def _as_member(self) -> Parts:
        return self.parts._replace(trainer=self.member)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """What goes wrong here is this trial's own failure: its run is closed with it, and the others go on."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Close the run with an error."""
        self.ended, self.error = True, error
        try:
            self._closing.__exit__(type(error), error, error.__traceback__)
        except Exception as explained_error:  # memory that ran out, in words
            self.error = explained_error
