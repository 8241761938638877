"""The training loop of a stack: `Trainer.fit`, for many trials at once."""

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
from dlx.vectorized.measure import evaluate_trials
from dlx.vectorized.stacked_loader import StackedLoader
from dlx.vectorized.trial import Trial


class StackedTrainer:
    """Trains all trials, epoch by epoch, until each is at its own end.

    A trial that stops early or fails is released at once. Its row stays in the stack until half of the rows are idle;
    then those that are left become a stack of their own.

    Args:
        trials: the trials, open.
        make_engine: makes the engine of some of them, by their indices.
        make_loader: likewise their loader.
        progress: of all of them.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        make_engine: Callable[[Sequence[int]], Engine],
        make_loader: Callable[[Sequence[int]], StackedLoader],
        progress: Progress,
    ) -> None:
        self.trials, self.progress = list(trials), progress
        self.make_engine, self.make_loader = make_engine, make_loader
        first = self.trials[0].member
        self.log_every, self.splits, self.validate_every = first.logger.every, first.splits, first.validate_every
        self.passes, self.max_steps, self.steps = first.total_epochs, first.max_steps, first.data.steps
        self.epoch = self.step = 0
        self.unlogged: list[Mapping[str, Tensor]] = []  # values of steps that are not logged yet

    def run(self, engine: Engine) -> None:
        """Train all of them.

        Raises:
            Interrupted: SIGINT or SIGTERM came; every trial is saved.
        """
        self.engine, self.rows = engine, list(range(len(self.trials)))  # which trial each row is
        self.loader = self.make_loader(self.rows)
        self.progress.start(self.passes, self.steps)
        try:
            with catch_interrupts() as interrupt:
                self._end_finished_trials()
                while self.active:
                    started, before = time.monotonic(), self.step
                    self._train_epoch(interrupt)
                    if self.step % self.steps == 0:  # else max_steps ended the epoch early
                        self._finish_epoch(started, self.step - before)
                    self._end_finished_trials()
                    if 2 * len(self.active) <= len(self.rows) and self.active:
                        self._shrink()
        finally:
            self.progress.close()

    @property
    def active(self) -> list[int]:
        """Indices of the trials that still learn."""
        return [k for k in self.rows if not self.trials[k].ended]

    def _train_epoch(self, interrupt: Interrupt) -> None:
        """Take the steps of one epoch."""
        for in_epoch, batch in enumerate(self.loader.train(self.epoch), 1):
            self.unlogged.append(self.engine.step(batch, self.loader.per_trial))
            self.step += 1
            self.progress.step(in_epoch)
            if self.step % self.log_every == 0:
                self._log_steps()
                self._check_trials(saving=True)
            if interrupt:
                self._interrupt(f"stopped by {interrupt.name} after step {self.step}; the checkpoint is saved")
            if self.step == self.max_steps:
                break
        self._log_steps()

    def _log_steps(self) -> None:
        """Hand each trial the values of its steps."""
        steps, self.unlogged = self.unlogged, []
        if not steps:
            return
        names = list(dict.fromkeys(name for values in steps for name in values))
        columns, finite = {}, torch.ones(len(self.rows), dtype=torch.bool)
        for name in names:
            table = torch.stack([values[name] for values in steps if name in values], 1).cpu()  # (K, n)
            columns[name] = [iter(row.unbind()) for row in table]
            finite &= table.isfinite().all(1)
        for row, k in enumerate(self.rows):
            if not self.trials[k].ended:
                values_of_trial = ({n: next(columns[n][row]) for n in names if n in values} for values in steps)
                self.trials[k].member.is_finite = bool(finite[row])
                self.trials[k].member.record_steps(list(values_of_trial))

    def _check_trials(self, saving: bool = False) -> None:
        """Let each trial check that its training is finite, and save those whose checkpoint is due."""
        for row, k in enumerate(self.rows):
            trial, member = self.trials[k], self.trials[k].member
            if trial.ended:
                continue
            with trial.catch_failure():
                member._check_finite()
                if saving and time.monotonic() - member.saved_at > member.save_every:
                    self.engine.sync_procedure(row)
                    member._save()
            self._release_if_ended(row)

    def _interrupt(self, why: str) -> None:
        """Save all trials, and raise Interrupted."""
        self._log_steps()
        self._check_trials()
        for row, k in enumerate(self.rows):
            trial = self.trials[k]
            if not trial.ended:
                with trial.catch_failure():
                    self.engine.sync_procedure(row)
                    trial.member._save()
                    trial.fail(Interrupted(why))
        raise Interrupted(why)

    def _finish_epoch(self, started: float, steps: int) -> None:
        """Validate all trials, and let each finish its epoch: history, schedules, early stopping, checkpoints."""
        self.epoch += 1
        metrics = {}
        if self.validate_every and (self.epoch % self.validate_every == 0 or self.epoch == self.passes):
            members = [self.trials[k] for k in self.rows]
            present = [split for split in self.splits if self.loader.loaders[0].has_split(split)]
            metrics = {split: evaluate_trials(self.engine.stack, members, self.loader, split) for split in present}
        histograms = cache(self.engine.stack.compute_histograms)  # of all trials, when the first asks
        for row, k in enumerate(self.rows):
            trial = self.trials[k]
            if trial.ended:
                continue
            trial.member.stack_metrics = {split: rows[row] for split, rows in metrics.items()}
            trial.member.get_stack_histograms = lambda row=row: histograms()[row]  # type: ignore[misc]
            with trial.catch_failure():
                self.engine.sync_procedure(row)
                trial.member._end_epoch(started, steps)
            self._release_if_ended(row)
        self.engine.refresh_numbers()
        self._print_epoch(started)

    def _release_if_ended(self, row: int) -> None:
        """Detach a trial that has just failed, which keeps the weights that it failed with."""
        if self.trials[self.rows[row]].ended:
            self.engine.release(row)

    def _end_finished_trials(self) -> None:
        """End the trials whose training is over."""
        for row, k in enumerate(self.rows):
            if not self.trials[k].ended and self.trials[k].is_over:
                self.engine.release(row)
                self.trials[k].end()
        self._print_notices()

    def _shrink(self) -> None:
        """Make a stack of the trials that still learn."""
        self.rows = self.active
        self.engine, self.loader = self.make_engine(self.rows), self.make_loader(self.rows)

    def _print_notices(self) -> None:
        """Print what trials have to say, loggers that failed."""
        for trial in self.trials:
            while trial.notices:
                self.progress.print_line(f"{trial.directory.name}: {trial.notices.pop(0)}")

    def _print_epoch(self, started: float) -> None:
        """Print an epoch's line: best and median of the monitored metric; without one the median of another."""
        self._print_notices()
        task, latest = self.trials[0].parts.task, [t.member.latest for t in self.trials if t.error is None]
        monitored = f"val/{task.monitor}"
        name = next((name for known in latest for name in (monitored, *known) if name in known), monitored)
        values = [known[name] for known in latest if name in known]
        best = max if task.mode == "max" else min
        shown = {f"{name} best": best(values)} if values and name == monitored else {}
        shown |= {f"{name} median": statistics.median(values)} if values else {}
        self.progress.end_epoch(self.epoch, shown, time.monotonic() - started)
