"""The training loop. It knows no model and no learning procedure."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.datasets.loader import Loader
from dlx.distributed.group import current_group
from dlx.errors import Interrupted, TrainingError
from dlx.hardware.device import autocast, select_device
from dlx.hardware.random_state import get_random_state, set_random_state, use_own_random_state
from dlx.hardware.signals import Interrupt, catch_interrupts
from dlx.loggers.histogram import Histogram, compute_parameter_histograms
from dlx.loggers.run_logger import RunLogger
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.terminal.progress import Progress
from dlx.training.callbacks.best_checkpoint import BestCheckpoint
from dlx.training.callbacks.callback import Callback, Training, check_state, collect_hooks
from dlx.training.callbacks.early_stopping import EarlyStopping
from dlx.training.callbacks.pictures import Histograms, Pictures
from dlx.training.checkpoint import Checkpoints
from dlx.training.evaluate import LOOKS, evaluate_split
from dlx.training.pictures import log_pictures
from dlx.types import Count, Natural, NonNegative

WIDE = (torch.float32, torch.float64)


class Trainer(Training):
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
        flush_every: steps between writes of what is logged; NaN is looked for as often, and a due checkpoint saved.
        log_every: log the values of every so many-th step; all are checked for NaN, and count in an epoch's mean.
        pictures: write pictures, into figures/ and to the loggers that take them.
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
            Literal[
                "filters",
                "activations",
                "deconvnet",
                "saliency",
                "grad_cam",
                "occlusion",
                "maximization",
                "regions",
                "tree",
                "importances",
                "staged",
                "fit",
                "predictions",
                "residuals",
                "coefficients",
                "paths",
                "learning_curve",
                "roc",
                "precision_recall",
                "calibration",
                "report",
                "clusters",
                "silhouette",
                "elbow",
                "kmeans_iterations",
            ]
        ] = (),
        strategy: Literal["ddp", "fsdp"] | None = None,
        processes: Count | Literal["auto"] = "auto",
        sync_batch_norm: bool = False,
        flush_every: Count = 50,
        log_every: Count = 1,
        pictures: bool = True,
    ) -> None:
        self.epochs, self.max_steps, self.batch = epochs, max_steps, batch
        self.device, self.precision = select_device(device), str(precision)
        self.compile, self.channels_last = compile, channels_last
        self.threads, self.matmul = threads, matmul
        self.memory, self.workers = memory, workers
        self.validate_every, self.splits = validate_every, list(evaluate)
        self.test, self.save_every, self.visuals = test, save_every, list(visuals)
        self.strategy, self.processes, self.sync_batch_norm = strategy, processes, sync_batch_norm
        self.flush_every, self.log_every, self.pictures = flush_every, log_every, pictures
        self.epoch = 0  # epochs finished
        self.step = 0  # steps taken
        self.step_in_epoch = 0
        self.sums: dict[str, tuple[Tensor, float | Tensor]] = {}  # of this epoch's training values; their weights
        self.latest: dict[str, float] = {}
        self.finished = False
        self.stop_reason: str | None = None  # why a callback has ended the training
        self.stop_status = "finished"  # what the run is to be called then
        self.to_resume = ""  # what `dlx resume` has to change then
        self.early_stopping, self.best_checkpoint = EarlyStopping(patience, min_delta), BestCheckpoint()
        self.built_in: tuple[Callback, ...] = (
            self.early_stopping,
            self.best_checkpoint,
            Histograms(),
            Pictures(pictures_every),
        )
        self.callbacks: dict[str, Callback] = {}  # those that were added, by name

    # -- the loop --------------------------------------------------------------------------------------------------

    def fit(
        self,
        model: nn.Module,
        task: Task,
        procedure: Procedure,
        data: Loader,
        logger: RunLogger,
        checkpoints: Checkpoints,
        progress: Progress,
    ) -> None:
        """Train until the epochs, the steps or the patience are used up, or the procedure is done.

        Raises:
            TrainingError: the loss is not finite, or the disk is full; the last good checkpoint is kept.
            Interrupted: SIGINT or SIGTERM came; the step was finished and saved.
        """
        self.attach(model, task, procedure, data, logger, checkpoints, progress)
        model.train()
        progress.start(self.total_epochs, data.steps, self.epoch, self.step_in_epoch)
        try:
            with catch_interrupts() as interrupt:
                self.call("on_fit_start")
                while not self._is_done():
                    started, before = time.monotonic(), self.step
                    self._train_epoch(interrupt)
                    if self.step_in_epoch < data.steps:
                        break  # max_steps or a callback ended the epoch half way
                    self._end_epoch(started, self.step - before)
                self.finished = True
                self._save()
                self.call("on_fit_end")
        finally:
            progress.close()
        if self.stop_reason is not None:
            progress.print_line(f"stopped after epoch {self.epoch}, step {self.step}: {self.stop_reason}")

    def attach(
        self,
        model: nn.Module,
        task: Task,
        procedure: Procedure,
        data: Loader,
        logger: RunLogger,
        checkpoints: Checkpoints,
        progress: Progress,
    ) -> None:
        """Take what a training works on; afterwards the callbacks can be called."""
        self.model, self.task, self.procedure = model, task, procedure
        self.data, self.logger, self.checkpoints, self.progress = data, logger, checkpoints, progress
        self.hooks = collect_hooks([*self.built_in, *self.callbacks.values()])
        self.saved_at = time.monotonic()

    def call(self, hook: str, *values: Any) -> None:
        """Call a hook of all callbacks, the built-in ones first; what the first process's ask for holds for all."""
        for function in self.hooks[hook]:
            function(self, *values)
        self.stop_reason = current_group().broadcast(self.stop_reason)

    def stop(self, reason: str, status: str = "finished", to_resume: str = "") -> None:
        """End the training: a callback calls this, in any hook.

        Training ends after this step (with several processes within `logger.every` steps) if `on_step_end` asks, and
        before the next step otherwise. It holds for this call of `fit`: where a resumed run has to stay stopped, the
        callback asks again in `on_fit_start`.

        Args:
            reason: shown, and kept in run.json.
            status: of the run in run.json.
            to_resume: what `dlx resume` has to change for the training to go on, `trainer.patience=20`.
        """
        self.stop_reason, self.stop_status, self.to_resume = reason, status, to_resume

    @property
    def total_epochs(self) -> int:
        """Passes over the training split in all: the configured epochs and the procedure's pretraining."""
        return self.epochs + self.procedure.pretraining_epochs

    def _is_done(self) -> bool:
        return (
            self.finished
            or self.stop_reason is not None
            or self.epoch >= self.total_epochs
            or self.procedure.done
            or (self.max_steps is not None and self.step >= self.max_steps)
        )

    def _train_epoch(self, interrupt: Interrupt) -> None:
        """Take the remaining steps of one epoch, or fewer if a callback stops it."""
        if self.step_in_epoch == 0:
            self.call("on_epoch_start")
            if self.stop_reason is not None:
                return
        group = current_group()
        take_step, log, show = group.weight_values(self.procedure.step), self.logger.scalars, self.progress.step
        every, should_stop = self.logger.every, group.should_stop
        hooks = self.hooks["on_step_end"]
        with autocast(self.device, self.precision):  # type: ignore[arg-type]
            for batch in self.data.train(self.epoch, self.step_in_epoch):
                values = take_step(batch)
                self.step += 1
                self.step_in_epoch += 1
                self._accumulate(values, self.task.weigh(batch))
                log("train", values, self.step)
                show(self.step_in_epoch)
                for hook in hooks:
                    hook(self, values)
                if self.step % every == 0:
                    self._check_finite()
                    self._save_if_due()
                if should_stop(interrupt, self.step):
                    self._check_finite()
                    self._save()
                    by = interrupt.name or "a signal"  # that another process received
                    raise Interrupted(f"stopped by {by} after step {self.step}; the checkpoint is saved")
                if self.step == self.max_steps or (hooks and self._is_stopped(every)):
                    return

    def _is_stopped(self, every: int) -> bool:
        """Return whether a callback has ended the training; several processes agree on it every so many steps."""
        if current_group().world_size > 1 and self.step % every:
            return False
        self.stop_reason = current_group().broadcast(self.stop_reason)
        return self.stop_reason is not None

    def _end_epoch(self, started: float, steps: int) -> None:
        with autocast(self.device, self.precision):  # type: ignore[arg-type]
            values = self.procedure.end_epoch()
        self._accumulate(values)
        self.epoch += 1
        self.step_in_epoch = 0
        self.logger.epoch = self.epoch
        rate = {"steps_per_second": steps / max(time.monotonic() - started, 1e-9)}
        self.logger.scalars("train", {**values, **rate}, self.step)
        self._check_finite()
        self._average_sums()
        self.latest = {f"train/{name}": float(total) / float(count) for name, (total, count) in self.sums.items()}
        self.sums = {}
        if self.validate_every and (self.epoch % self.validate_every == 0 or self.epoch == self.total_epochs):
            self._validate()
        self.call("on_epoch_end")
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

    def compute_histograms(self) -> Mapping[str, Histogram | None]:
        """Return the histograms of the weights, by name."""
        return compute_parameter_histograms(self.model)

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
        self.call("on_validation_start")
        for split in self.splits:
            if not self.data.has_split(split):
                continue
            metrics = self.evaluate(split)
            self.logger.scalars(split, metrics, self.step)
            self.latest.update({f"{split}/{name}": value for name, value in metrics.items()})
            if split == "val" and self.epoch > self.procedure.pretraining_epochs:
                self.procedure.on_validation_end(metrics)
        self._report_notices()
        self.call("on_validation_end", self.latest)

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
        """Return the state of the loop and of all callbacks."""
        added = {name: callback.state_dict() for name, callback in self.callbacks.items()}
        for name, state in added.items():
            check_state(f"callbacks.{name}", state)
        return (
            {name: getattr(self, name) for name in ("epoch", "step", "step_in_epoch", "latest")}
            | {"sums": {name: [torch.as_tensor(total), count] for name, (total, count) in self.sums.items()}}
            | {"weighed": True}  # the sums: in older runs each step weighed 1
            | {name: value for callback in self.built_in for name, value in callback.state_dict().items()}
            | {"callbacks": added}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in ("epoch", "step", "step_in_epoch", "latest"):
            setattr(self, name, state[name])
        weight = 1 if state.get("weighed") or not isinstance(self.batch, int) else self.batch
        self.sums = {name: (total * weight, count * weight) for name, (total, count) in state["sums"].items()}
        for built_in in self.built_in:
            built_in.load_state_dict(state)  # among the loop's own, as it was before there were callbacks
        for name, callback in self.callbacks.items():
            if name in state.get("callbacks", {}):
                callback.load_state_dict(state["callbacks"][name])

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
