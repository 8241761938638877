"""The loop of a stack: `Trainer.fit`, for many at once."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from dlx.errors import Interrupted
from dlx.hardware.signals import Interrupt, catch_interrupts
from dlx.terminal.progress import Progress
from dlx.vectorized.engine import Engine
from dlx.vectorized.measure import measure
from dlx.vectorized.stacked_loader import Streams
from dlx.vectorized.trial import Trial


class Together:
    """Passes over the training split for all trials, until each is at its own end.

    A trial that stops early or fails is let go at once. Its row stays in the stack until half of the rows are idle;
    then those that are left become a stack of their own.

    Args:
        trials: open.
        make: makes the engine of some of them, by their places.
        streams: likewise their batches.
        progress: of all of them.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        make: Callable[[Sequence[int]], Engine],
        streams: Callable[[Sequence[int]], Streams],
        progress: Progress,
    ) -> None:
        self.trials, self.make, self.streams_of, self.progress = list(trials), make, streams, progress
        first = self.trials[0].member
        self.every, self.splits, self.validate_every = first.logger.every, first.splits, first.validate_every
        self.passes, self.max_steps, self.steps = first.passes, first.max_steps, first.data.steps
        self.epoch = self.step = 0
        self.taken: list[Mapping[str, Tensor]] = []  # steps that nobody has logged yet

    def run(self, engine: Engine) -> None:
        """Train all of them.

        Raises:
            Interrupted: SIGINT or SIGTERM came; every trial is saved.
        """
        self.engine, self.rows = engine, list(range(len(self.trials)))  # which trial each row is
        self.streams = self.streams_of(self.rows)
        self.progress.start(self.passes, self.steps)
        try:
            with catch_interrupts() as interrupt:
                self._end_those_over()
                while self.live:
                    started, before = time.monotonic(), self.step
                    self._pass(interrupt)
                    if self.step % self.steps == 0:  # else max_steps ended it half way
                        self._end_epoch(started, self.step - before)
                    self._end_those_over()
                    if 2 * len(self.live) <= len(self.rows) and self.live:
                        self._narrow()
        finally:
            self.progress.close()

    @property
    def live(self) -> list[int]:
        """Trials that still learn."""
        return [k for k in self.rows if not self.trials[k].ended]

    def _pass(self, interrupt: Interrupt) -> None:
        for in_epoch, batch in enumerate(self.streams.train(self.epoch), 1):
            self.taken.append(self.engine.step(batch, self.streams.own))
            self.step += 1
            self.progress.step(in_epoch)
            if self.step % self.every == 0:
                self._log()
                self._check(saving=True)
            if interrupt:
                self._stop(f"stopped by {interrupt.name} after step {self.step}; the checkpoint is saved")
            if self.step == self.max_steps:
                break
        self._log()

    def _log(self) -> None:
        """Hand each trial what its steps gave."""
        taken, self.taken = self.taken, []
        if not taken:
            return
        names = list(dict.fromkeys(name for values in taken for name in values))
        columns, finite = {}, torch.ones(len(self.rows), dtype=torch.bool)
        for name in names:
            table = torch.stack([values[name] for values in taken if name in values], 1).cpu()  # (K, n)
            columns[name] = [iter(row.unbind()) for row in table]
            finite &= table.isfinite().all(1)
        for row, k in enumerate(self.rows):
            if not self.trials[k].ended:
                given = ({n: next(columns[n][row]) for n in names if n in values} for values in taken)
                self.trials[k].member.finite = bool(finite[row])
                self.trials[k].member.took(list(given))

    def _check(self, saving: bool = False) -> None:
        for row, k in enumerate(self.rows):
            trial, member = self.trials[k], self.trials[k].member
            if trial.ended:
                continue
            with trial.failing():
                member._check()
                if saving and time.monotonic() - member.saved_at > member.save_every:
                    self.engine.publish(row)
                    member._save()
            self._let_go(row)

    def _stop(self, why: str) -> None:
        self._log()
        self._check()
        for row, k in enumerate(self.rows):
            trial = self.trials[k]
            if not trial.ended:
                with trial.failing():
                    self.engine.publish(row)
                    trial.member._save()
                    trial.fail(Interrupted(why))
        raise Interrupted(why)

    def _end_epoch(self, started: float, steps: int) -> None:
        self.epoch += 1
        measured = {}
        if self.validate_every and (self.epoch % self.validate_every == 0 or self.epoch == self.passes):
            members = [self.trials[k] for k in self.rows]
            present = [split for split in self.splits if self.streams.loaders[0].has_split(split)]
            measured = {split: measure(self.engine.stack, members, self.streams, split) for split in present}
        histograms = cache(self.engine.stack.histograms)  # of all, when the first asks
        for row, k in enumerate(self.rows):
            trial = self.trials[k]
            if trial.ended:
                continue
            trial.member.measured = {split: found[row] for split, found in measured.items()}
            trial.member.histograms = lambda row=row: histograms()[row]  # type: ignore[misc]
            with trial.failing():
                self.engine.publish(row)
                trial.member._end_epoch(started, steps)
            self._let_go(row)
        self.engine.refresh()
        self._tell(started)

    def _let_go(self, row: int) -> None:
        """A trial that has just failed keeps the weights that it failed with."""
        if self.trials[self.rows[row]].ended:
            self.engine.release(row)

    def _end_those_over(self) -> None:
        for row, k in enumerate(self.rows):
            if not self.trials[k].ended and self.trials[k].over:
                self.engine.release(row)
                self.trials[k].end()

    def _narrow(self) -> None:
        self.rows = self.live
        self.engine, self.streams = self.make(self.rows), self.streams_of(self.rows)

    def _tell(self, started: float) -> None:
        """An epoch's line: the best trial's monitored metric, and the median; without one the median of another."""
        task, latest = self.trials[0].parts.task, [t.member.latest for t in self.trials if t.error is None]
        monitored = f"val/{task.monitor}"
        name = next((name for known in latest for name in (monitored, *known) if name in known), monitored)
        values = [known[name] for known in latest if name in known]
        best = max if task.mode == "max" else min
        shown = {f"{name} best": best(values)} if values and name == monitored else {}
        shown |= {f"{name} median": statistics.median(values)} if values else {}
        self.progress.end_epoch(self.epoch, shown, time.monotonic() - started)
