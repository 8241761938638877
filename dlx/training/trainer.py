"""The training loop. It knows no model and no learning procedure."""

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
from dlx.hardware.random_state import get_random_state, set_random_state, use_own_random_state
from dlx.hardware.signals import Interrupt, catch_interrupts
from dlx.loggers.run_logger import Logger
from dlx.loggers.tensorboard.histogram import encode_parameters
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.terminal.progress import Progress
from dlx.training.callbacks import ValidationCallback
from dlx.training.checkpoint import Checkpoints
from dlx.training.evaluate import LOOKS, evaluate_split
from dlx.training.pictures import log_pictures
from dlx.types import Count, Natural, NonNegative

WIDE = (torch.float32, torch.float64)


class Trainer:
    """Train over the training split, validate, log, save checkpoints, and stop early.

    Args:
        epochs: passes over the training split.
        max_steps: stop after so many steps, if that comes first.
        batch: examples in a step of each process; `full` for all of them, `auto` for as many as fit into memory and
            make training faster.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: 32, or bf16 or 16 for autocast to bfloat16 or float16 (with loss scaling).
        compile: compile the model with torch.compile; `procedure.compile=step` compiles a whole step instead.
        channels_last: memory format of convolutions; `auto` where it is faster.
        threads: of the processor; `auto` takes one for small models, else all cores.
        matmul: precision of float32 matrix products: `auto`, or one of torch's.
        memory: where the data is kept: `device`, or `stream` from the host; `auto` for the device if it fits there.
        workers: processes that load streamed data.
        validate_every: epochs between validations; 0 for none.
        evaluate: splits that are measured at each validation.
        patience: stop after so many validations without an improvement of the monitored metric; null for never.
        min_delta: the smallest improvement that counts.
        test: measure the test split once, at the end, with the best model.
        save_every: seconds between checkpoints; a killed run loses no more than that.
        pictures_every: epochs between pictures; 0 for one set at the end.
        visuals: methods of `dlx visualize` that are drawn with the pictures.
        strategy: how several processes train together: `ddp`, each with the full model, or `fsdp`, each with a shard.
        processes: that dlx starts on this machine if torchrun did not; `auto`, one for each GPU.
        sync_batch_norm: normalise over the examples of all processes instead of each one's.
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
        self.epoch = 0  # epochs finished
        self.step = 0  # steps taken
        self.step_in_epoch = 0
        self.best: float | None = None
        self.best_epoch = 0
        self.mark: float | None = None  # what the next validation has to beat by min_delta
        self.waited = 0  # validations since `mark` was set
        self.sums: dict[str, tuple[Tensor, float | Tensor]] = {}  # of this epoch's training values; their weights
        self.latest: dict[str, float] = {}
        self.finished = False
        self.validation_callback: ValidationCallback | None = None
        self.pruned = False  # the callback has ended the training

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
        """Train until the epochs, the steps or the patience are used up, or the procedure is done.

        Raises:
            TrainingError: the loss is not finite, or the disk is full; the last good checkpoint is kept.
            Interrupted: SIGINT or SIGTERM came; the step was finished and saved.
        """
        self.model, self.task, self.procedure = model, task, procedure
        self.data, self.logger, self.checkpoints, self.progress = data, logger, checkpoints, progress
        self.saved_at = time.monotonic()
        model.train()
        progress.start(self.total_epochs, data.steps, self.epoch, self.step_in_epoch)
        try:
            with catch_interrupts() as interrupt:
                while not self._is_done():
                    started, before = time.monotonic(), self.step
                    self._train_epoch(interrupt)
                    if self.step_in_epoch < data.steps:
                        break  # max_steps ended the epoch half way
                    self._end_epoch(started, self.step - before)
                self.finished = True
                self._save()
        finally:
            progress.close()

    @property
    def total_epochs(self) -> int:
        """Passes over the training split in all: the configured epochs and the procedure's pretraining."""
        return self.epochs + self.procedure.pretraining_epochs

    def _is_done(self) -> bool:
        return (
            self.finished
            or self.pruned
            or self.epoch >= self.total_epochs
            or self.procedure.done
            or (self.max_steps is not None and self.step >= self.max_steps)
            or (self.patience is not None and self.waited >= self.patience)
        )

    def _train_epoch(self, interrupt: Interrupt) -> None:
        """Take the remaining steps of one epoch."""
        group = current_group()
        take_step, log, show = group.weight_values(self.procedure.step), self.logger.scalars, self.progress.step
        every, should_stop = self.logger.every, group.should_stop
        with autocast(self.device, self.precision):  # type: ignore[arg-type]
            for batch in self.data.train(self.epoch, self.step_in_epoch):
                values = take_step(batch)
                self.step += 1
                self.step_in_epoch += 1
                self._accumulate(values, self.task.weigh(batch))
                log("train", values, self.step)
                show(self.step_in_epoch)
                if self.step % every == 0:
                    self._check_finite()
                    self._save_if_due()
                if should_stop(interrupt, self.step):
                    self._check_finite()
                    self._save()
                    by = interrupt.name or "a signal"  # that another process received
                    raise Interrupted(f"stopped by {by} after step {self.step}; the checkpoint is saved")
                if self.step == self.max_steps:
                    return

    def _end_epoch(self, started: float, steps: int) -> None:
        with autocast(self.device, self.precision):  # type: ignore[arg-type]
            values = self.procedure.end_epoch()
        self._accumulate(values)
        self.epoch += 1
        self.step_in_epoch = 0
        self.logger.epoch = self.epoch
        rate = {"steps_per_second": steps / max(time.monotonic() - started, 1e-9)}
        self.logger.scalars("train", {**values, **rate}, self.step)
        with current_group().full_parameters(self.model):
            self.logger.histograms(self._encode_histograms, self.step)
        if self.logger.is_enabled("images"):
            for name, picture in self.procedure.pictures().items():
                self.logger.images(name, picture, self.step)
        self._check_finite()
        self._average_sums()
        self.latest = {f"train/{name}": float(total) / float(count) for name, (total, count) in self.sums.items()}
        self.sums = {}
        if self.validate_every and (self.epoch % self.validate_every == 0 or self.epoch == self.total_epochs):
            self._validate()
            self._report_notices()
            if self.validation_callback is not None:
                self.pruned = self.validation_callback(self.epoch, self.latest, f"val/{self.task.monitor}")
        if self.pictures_every and self.epoch % self.pictures_every == 0:
            with current_group().full_parameters(self.model):
                self.log_pictures()
        self.progress.end_epoch(self.epoch, self.latest, time.monotonic() - started)
        self._save_if_due()

    # -- between steps -----------------------------------------------------------------------------------------------

    def _accumulate(self, values: Mapping[str, Tensor], weight: float | Tensor = 1) -> None:
        """Add a step's values, means over so many examples, to this epoch's sums; tensors stay on their devices."""
        group = current_group()
        own = group.weigh_share(weight)  # the ranks' values have been multiplied by fraction · world_size
        share, count = own / group.fraction, own * group.world_size
        for name, value in values.items():
            value = value if value.dtype in WIDE else value.float()  # 1024 examples are too many for float16
            before = self.sums.get(name)
            if before is None:
                self.sums[name] = (value * share, count)
            elif isinstance(share, Tensor):
                self.sums[name] = (before[0] + value * share, before[1] + count)
            else:
                self.sums[name] = (torch.add(before[0], value, alpha=share), before[1] + count)

    def _encode_histograms(self) -> Mapping[str, bytes | None]:
        """Return the histograms of the weights, by name, for TensorBoard."""
        return encode_parameters(self.model)

    def _average_sums(self) -> None:
        """Replace every rank's sums by their mean over the ranks."""
        if current_group().world_size > 1:
            numbers = iter(current_group().mean([float(number) for pair in self.sums.values() for number in pair]))
            for name, total, count in zip(list(self.sums), numbers, numbers, strict=False):
                self.sums[name] = (torch.tensor(total, dtype=torch.float64), count)

    def _check_finite(self) -> None:
        """Flush the logger and raise an error at the first training value that is not finite."""
        self._report_notices()
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

    def _report_notices(self) -> None:
        """Print and log the procedure's notices."""
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
                self._track_best(metrics)

    def _track_best(self, metrics: dict[str, float]) -> None:
        """Save the model if its monitored metric is the best so far, and count validations without an improvement."""
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
        # Of equals the newest: on a small validation split accuracy ties early, by luck.
        if self.best is None or sign * (value - self.best) >= 0:
            self.best, self.best_epoch = value, self.epoch
            about = {"epoch": self.epoch, "step": self.step, "metric": f"val/{self.task.monitor}", "value": value}
            self.checkpoints.save_best(current_group().state(self.model), about)

    def evaluate(self, split: str) -> dict[str, float]:
        """Return the task's metrics on a split, with the present model."""
        current_group().sync_buffers(self.model)
        with autocast(self.device, self.precision), current_group().full_parameters(self.model):  # type: ignore[arg-type]
            return evaluate_split(self.model, self.task, self.data, split)

    def log_pictures(self) -> None:
        """Log the pictures of the model and the task, drawn by chance of their own."""
        with use_own_random_state(self.data.seed, LOOKS.index("pictures")):
            log_pictures(self.model, self.task, self.data, self.logger, self.step, self.visuals, self.device)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def _save_if_due(self) -> None:
        if current_group().broadcast(time.monotonic() - self.saved_at > self.save_every):
            self._save()

    def _save(self) -> None:
        self.logger.flush()  # the curves on disk never end before the checkpoint from which they are continued
        self.checkpoints.save_last(self.make_checkpoint())
        self.saved_at = time.monotonic()

    def make_checkpoint(self) -> dict[str, Any]:
        """Return a checkpoint for `restore`: the full state of model, procedure, loop and random numbers."""
        self._average_sums()
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
        """Return the state of the loop."""
        names = ("epoch", "step", "step_in_epoch", "best", "best_epoch", "mark", "waited", "latest")
        return {name: getattr(self, name) for name in names} | {
            "sums": {name: [torch.as_tensor(total), count] for name, (total, count) in self.sums.items()},
            "weighed": True,  # the sums: in older runs each step weighed 1
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            if name not in ("sums", "weighed"):
                setattr(self, name, value)
        weight = 1 if state.get("weighed") or not isinstance(self.batch, int) else self.batch
        self.sums = {name: (total * weight, count * weight) for name, (total, count) in state["sums"].items()}

    def restore(self, content: Mapping[str, Any], model: nn.Module, procedure: Procedure) -> None:
        """Load a checkpoint: afterwards `fit` continues as if it had never stopped."""
        current_group().load(model, content["model"])
        procedure.load_state_dict(content["procedure"])
        self.load_state_dict(content["trainer"])
        set_random_state(content["random"])

    def run_metadata(self) -> dict[str, Any]:
        """Return what the procedure adds to run.json."""
        return self.procedure.run_metadata() if hasattr(self, "procedure") else {}

    def make_loss_scale(self) -> LossScale | None:
        """Return a loss scale for float16; None for other precisions."""
        return LossScale() if self.precision == "16" else None
