"""The one loop. It names no model and no way of learning."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.datasets.loader import Loader
from dlx.distributed.group import current_group
from dlx.errors import Interrupted, TrainingError
from dlx.hardware.device import autocast, select_device
from dlx.hardware.out_of_memory import fitting
from dlx.hardware.random_state import get_random_state, set_random_state
from dlx.hardware.signals import Interrupt, catch_interrupts
from dlx.loggers.run_logger import Logger
from dlx.loggers.tensorboard.histogram import weights
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.terminal.progress import Progress
from dlx.training.callbacks import Watch
from dlx.training.checkpoint import Checkpoints
from dlx.training.evaluate import evaluate
from dlx.training.pictures import draw
from dlx.types import Count, Natural, NonNegative


class Trainer:
    """Passes over the training split, validates, logs, saves, and stops when it should.

    Args:
        epochs: passes over the training split.
        max_steps: stop after so many steps, if that comes first.
        batch: examples in a step, of each process; `full` for all of them, `auto` for as many as fit into memory and
            make it faster.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: 32, or bf16 or 16 for autocast to bfloat16 or float16 (with loss scaling).
        compile: compile the model with torch.compile; `procedure.compile=step` compiles a whole step instead.
        channels_last: memory order of convolutions; `auto` where it is faster.
        threads: of the processor; `auto` takes one for small models, else all.
        matmul: float32 products: `auto`, or one of torch's precisions.
        memory: where the data lives: `auto` on the device if it fits, else `device` or `stream`.
        workers: processes that load streamed data.
        validate_every: epochs between validations; 0 for none.
        evaluate: splits that are measured at each validation.
        patience: stop early after so many validations without a better monitored metric; null for never.
        min_delta: what counts as better.
        test: measure the test split once, at the end, with the best model.
        save_every: seconds between checkpoints; what a killed run loses at most.
        pictures_every: epochs between pictures; 0 for one set at the end.
        visuals: what the network sees, drawn with the pictures; as `dlx visualize`.
        strategy: how several processes learn together: `ddp`, each with the whole model, or `fsdp`, each with a part.
        processes: that dlx starts on this machine where torchrun did not; `auto`, one for each GPU.
        sync_batch_norm: normalise over the examples of all processes, not over each one's.
        logger: makes the logger of a run directory.
    """

    def __init__(
        self,
        epochs: Count = 60,
        max_steps: Count | None = None,
        batch: Count | Literal["full", "auto"] = 64,
        device: str = "auto",
        precision: Literal[32, 16, "32", "16", "bf16"] = 32,
        compile: bool = False,
        channels_last: bool | Literal["auto"] = "auto",
        threads: Count | Literal["auto"] = "auto",
        matmul: Literal["auto", "highest", "high", "medium"] = "auto",
        memory: Literal["auto", "device", "stream"] = "auto",
        workers: Natural | Literal["auto"] = "auto",
        validate_every: Natural = 1,
        evaluate: Sequence[Literal["train", "val", "test"]] = ("val",),
        patience: Count | None = None,
        min_delta: NonNegative = 0.0,
        test: bool = True,
        save_every: NonNegative = 30.0,
        pictures_every: Natural = 0,
        visuals: Sequence[
            Literal["filters", "activations", "deconvnet", "saliency", "grad_cam", "occlusion", "maximization"]
        ] = (),
        strategy: Literal["ddp", "fsdp"] | None = None,
        processes: Count | Literal["auto"] = "auto",
        sync_batch_norm: bool = False,
        logger: Callable[..., Logger] = Logger,
    ) -> None:
        self.epochs, self.max_steps, self.batch = epochs, max_steps, batch
        self.device, self.precision = select_device(device), str(precision)
        self.compile, self.channels_last = compile, channels_last
        self.threads, self.matmul = threads, matmul
        self.memory, self.workers = memory, workers
        self.validate_every, self.splits = validate_every, list(evaluate)
        self.patience, self.min_delta, self.test = patience, min_delta, test
        self.save_every, self.pictures_every, self.visuals = save_every, pictures_every, list(visuals)
        self.strategy, self.processes, self.sync_batch_norm = strategy, processes, sync_batch_norm
        self.make_logger = logger
        self.epoch = 0  # passes finished
        self.step = 0  # steps taken
        self.step_in_epoch = 0
        self.best: float | None = None
        self.best_epoch = 0
        self.mark: float | None = None  # what the next validation has to beat by min_delta
        self.waited = 0  # validations since it was set
        self.sums: dict[str, tuple[Tensor, int]] = {}  # of this epoch's training values
        self.latest: dict[str, float] = {}
        self.finished = False
        self.watch: Watch | None = None
        self.pruned = False  # the watch has said stop

    # -- the loop --------------------------------------------------------------------------------------------------

    def fit(
        self,
        model: nn.Module,
        task: Task,
        procedure: Procedure,
        data: Loader,
        logger: Logger,
        checkpoints: Checkpoints,
        progress: Progress,
    ) -> None:
        """Train until the epochs, the steps, the patience or the procedure is at an end.

        Raises:
            TrainingError: the loss is not finite, or the disk is full; the last good checkpoint stays.
            Interrupted: SIGINT or SIGTERM came; the step was finished and saved.
        """
        self.model, self.task, self.procedure = model, task, procedure
        self.data, self.logger, self.checkpoints, self.progress = data, logger, checkpoints, progress
        self.saved_at = time.monotonic()
        model.train()
        progress.start(self.passes, data.steps, self.epoch, self.step_in_epoch)
        try:
            with catch_interrupts() as interrupt:
                while not self._over():
                    started, before = time.monotonic(), self.step
                    self._pass(interrupt)
                    if self.step_in_epoch < data.steps:
                        break  # max_steps ended it half way
                    self._end_epoch(started, self.step - before)
                self.finished = True
                self._save()
        finally:
            progress.close()

    @property
    def passes(self) -> int:
        """Over the training split in all: those of the configuration, and what the procedure does beforehand."""
        return self.epochs + self.procedure.pretraining_epochs

    def _over(self) -> bool:
        return (
            self.finished
            or self.pruned
            or self.epoch >= self.passes
            or self.procedure.done
            or (self.max_steps is not None and self.step >= self.max_steps)
            or (self.patience is not None and self.waited >= self.patience)
        )

    def _pass(self, interrupt: Interrupt) -> None:
        """The rest of one epoch's steps."""
        group = current_group()
        take, log, show = group.weight_values(self.procedure.step), self.logger.scalars, self.progress.step
        due, heard = self.logger.every, group.should_stop
        with autocast(self.device, self.precision):  # type: ignore[arg-type]
            for batch in self.data.train(self.epoch, self.step_in_epoch):
                values = take(batch)
                self.step += 1
                self.step_in_epoch += 1
                self._note(values)
                log("train", values, self.step)
                show(self.step_in_epoch)
                if self.step % due == 0:
                    self._check()
                    self._save_in_time()
                if heard(interrupt, self.step):
                    self._check()
                    self._save()
                    by = interrupt.name or "a signal"  # that another process heard
                    raise Interrupted(f"stopped by {by} after step {self.step}; the checkpoint is saved")
                if self.step == self.max_steps:
                    return

    def _end_epoch(self, started: float, steps: int) -> None:
        with autocast(self.device, self.precision):  # type: ignore[arg-type]
            values = self.procedure.end_epoch()
        self._note(values)
        self.epoch += 1
        self.step_in_epoch = 0
        self.logger.epoch = self.epoch
        rate = {"steps_per_second": steps / max(time.monotonic() - started, 1e-9)}
        self.logger.scalars("train", {**values, **rate}, self.step)
        with current_group().full_parameters(self.model):
            self.logger.parameters(self._histograms, self.step)
        if self.logger.draws("images"):
            for name, picture in self.procedure.pictures().items():
                self.logger.images(name, picture, self.step)
        self._check()
        self._share_sums()
        self.latest = {f"train/{name}": float(total) / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        if self.validate_every and (self.epoch % self.validate_every == 0 or self.epoch == self.passes):
            self._validate()
            self._tell()
            if self.watch is not None:
                self.pruned = self.watch(self.epoch, self.latest, f"val/{self.task.monitor}")
        if self.pictures_every and self.epoch % self.pictures_every == 0:
            with current_group().full_parameters(self.model):
                self.pictures()
        self.progress.end_epoch(self.epoch, self.latest, time.monotonic() - started)
        self._save_in_time()

    # -- what happens between steps ----------------------------------------------------------------------------------

    def _note(self, values: dict[str, Tensor]) -> None:
        """Add to this epoch's sums; the tensors stay where they are."""
        for name, value in values.items():
            if name in self.sums:
                total, count = self.sums[name]
                self.sums[name] = (total + value, count + 1)
            else:
                self.sums[name] = (value, 1)

    def _histograms(self) -> Mapping[str, bytes | None]:
        """How the weights are distributed, for TensorBoard."""
        return weights(self.model)

    def _share_sums(self) -> None:
        """Where there are several processes: the mean over them, which then is each one's."""
        if current_group().world > 1:
            numbers = current_group().mean([float(total) for total, _ in self.sums.values()])
            for (name, (_, count)), number in zip(list(self.sums.items()), numbers, strict=False):
                self.sums[name] = (torch.tensor(number, dtype=torch.float64), count)

    def _check(self) -> None:
        """Write what was logged, and stop at the first value that is not finite."""
        self._tell()
        bad = self.logger.flush()
        if bad is None:
            return
        last = self.checkpoints.directory / "last.pt" if self.checkpoints.directory else None
        kept = f"the last good checkpoint is {last}" if last and last.exists() else "no checkpoint had been saved yet"
        epoch = (bad - 1) // self.data.steps + 1
        raise TrainingError(
            f"the training loss is not finite at step {bad} (epoch {epoch}); {kept}; what helps, in this order: "
            "a smaller optimizer.lr=…, procedure.clip_norm=1, trainer.precision=32, dataset.scale=standard"
        )

    def _tell(self) -> None:
        """Hand on what the user should hear at once."""
        for line in self.procedure.pop_notices():
            self.progress.print_line(line)
            self.logger.text("news", line, self.step)

    def _validate(self) -> None:
        for split in self.splits:
            if not self.data.has_split(split):
                continue
            metrics = self.evaluate(split)
            self.logger.scalars(split, metrics, self.step)
            self.latest.update({f"{split}/{name}": value for name, value in metrics.items()})
            if split == "val":
                self._judge(metrics)

    def _judge(self, metrics: dict[str, float]) -> None:
        """Keep the best model by the monitored metric, and count how long it has stood."""
        if self.epoch <= self.procedure.pretraining_epochs:
            return
        self.procedure.on_validation_end(metrics)
        value = metrics.get(self.task.monitor)
        if value is None or math.isnan(value):
            return
        sign = 1 if self.task.mode == "max" else -1
        if self.mark is None or sign * (value - self.mark) > self.min_delta:
            self.mark, self.waited = value, 0
        else:
            self.waited += 1
        if (
            self.best is None or sign * (value - self.best) >= 0
        ):  # of equals the newest: on a small validation split accuracy ties early, by luck
            self.best, self.best_epoch = value, self.epoch
            about = {"epoch": self.epoch, "step": self.step, "metric": f"val/{self.task.monitor}", "value": value}
            self.checkpoints.best(current_group().state(self.model), about)

    def evaluate(self, split: str) -> dict[str, float]:
        """The task's metrics on a split, with the model as it is."""
        current_group().sync_buffers(self.model)
        with autocast(self.device, self.precision), current_group().full_parameters(self.model):  # type: ignore[arg-type]
            return fitting(self.data, lambda: evaluate(self.model, self.task, self.data.split(split)))

    def pictures(self) -> None:
        """The pictures of the model and of the task."""
        draw(self.model, self.task, self.data, self.logger, self.step, self.visuals, self.device)

    # -- what a resumed run needs --------------------------------------------------------------------------------

    def _save_in_time(self) -> None:
        if current_group().broadcast(time.monotonic() - self.saved_at > self.save_every):
            self._save()

    def _save(self) -> None:
        self.logger.flush()  # the curves on the disk never end before the checkpoint that goes on from them
        self.checkpoints.last(self.content())
        self.saved_at = time.monotonic()

    def content(self) -> dict[str, Any]:
        """What `restore` takes up: model, procedure, the loop's place and the random numbers', whole on all ranks."""
        self._share_sums()
        group, procedure, random = current_group(), self.procedure.state_dict(), get_random_state()
        own = {name: procedure[name] for name in self.procedure.apart if name in procedure}
        return {
            "model": group.state(self.model),
            "procedure": procedure,
            "trainer": self.state_dict(),
            "random": random,
            **group.gather_rank_state({"random": random, "procedure": own}),
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the loop stands."""
        names = ("epoch", "step", "step_in_epoch", "best", "best_epoch", "mark", "waited", "latest")
        return {name: getattr(self, name) for name in names} | {
            "sums": {name: [torch.as_tensor(total), count] for name, (total, count) in self.sums.items()}
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)
        self.sums = {name: (total, count) for name, (total, count) in state["sums"].items()}

    def restore(self, content: Mapping[str, Any], model: nn.Module, procedure: Procedure) -> None:
        """Take up a checkpoint: afterwards `fit` goes on as if it had never stopped."""
        current_group().load(model, content["model"])
        procedure.load_state_dict(content["procedure"])
        self.load_state_dict(content["trainer"])
        set_random_state(content["random"])

    def run_metadata(self) -> dict[str, Any]:
        """What run.json keeps of how it went."""
        return self.procedure.run_metadata() if hasattr(self, "procedure") else {}

    def loss_scale(self) -> LossScale | None:
        """Loss scaling where float16 asks for it."""
        return LossScale() if self.precision == "16" else None
