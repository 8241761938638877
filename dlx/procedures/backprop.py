"""Back-propagation with any torch optimizer.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, Nature 323, 1986. Gradient-norm clipping: R. Pascanu, T. Mikolov,
Y. Bengio, 2013, https://arxiv.org/abs/1211.5063.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.distributed.group import current_group
from dlx.distributed.sharding import gather_full_tensors, shard_like, shard_tensors
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.layers import find_constrained, find_penalized
from dlx.optimizers.fused import Gradients, make_optimizer, make_updater, without_dynamo
from dlx.procedures.diagnosis import StateGradients
from dlx.procedures.micro import MicroBatches
from dlx.procedures.procedure import Procedure
from dlx.procedures.schedule import Schedule
from dlx.tasks.task import Task
from dlx.types import Count, Natural, Positive

if TYPE_CHECKING:
    from dlx.distributed.gradients import DistributedGradients
    from dlx.procedures.compiled import CompiledStep

COMPILABLE = ("SGD", "Adam", "AdamW")  # as dlx.procedures.compiled has them; asking it would load torch's compiler


class Backprop(Procedure):
    """Descend the gradient of the task's loss, plus the model's own penalties.

    Of several processes each takes the gradient of its share of a batch, by torch's DistributedDataParallel or
    fully_shard; with `accumulate` the gradients are added up in each and exchanged once an update.

    Args:
        optimizer: a torch.optim class without its parameters.
        scheduler: a torch.optim.lr_scheduler class without its optimizer, stepped once each epoch or each step.
        clip_norm: bound on the Euclidean norm of the whole gradient.
        clip_value: bound on each entry of the gradient.
        accumulate: batches that make one update, the gradient of the mean over all of their examples (of sequences,
            over all steps that count), as one large batch would; what an epoch leaves over makes a smaller one.
        grad_norm_every: updates between two logs of the gradient's norm; 0 for none.
        compile: `step` makes loss, gradient and update one compiled graph. It pays for small networks and many steps:
            compiling takes seconds.
        diagnose: `gradients` logs at the end of each epoch how much the loss of its last batch depends on the hidden
            states of a recurrent network, ‖∂L/∂h_t‖ at each step t.
    """

    distributes = True
    shards = True
    repeatable: ClassVar[bool] = True  # one batch makes one update, whose loss can be computed again
    declares: ClassVar[tuple[str | Metric, ...]] = ("loss", "lr", "gradient_norm", "gradient_first", "gradient_last")

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        clip_norm: Positive | None = None,
        clip_value: Positive | None = None,
        accumulate: Count = 1,
        grad_norm_every: Natural = 50,
        compile: Literal["step"] | None = None,
        diagnose: Literal["gradients"] | None = None,
    ) -> None:
        self.optimizer_factory, self.schedule_factory = optimizer, scheduler
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.accumulate, self.grad_norm_every = accumulate, grad_norm_every
        self.compile, self.diagnose = compile, diagnose
        if compile and (accumulate > 1 or clip_value is not None):
            raise UsageError(
                "procedure.compile=step was given with accumulate or clip_value; needed: neither of them; "
                "type procedure.compile=null, or clip with procedure.clip_norm"
            )
        self.compiled: CompiledStep | None = None
        self.micro_batches = MicroBatches(
            lambda batch: self._compute_gradient(self.loss(batch)), lambda batch: self.task.weigh(batch)
        )
        self.diagnosis: StateGradients | None = None
        self.distributed: DistributedGradients | None = None  # with several processes
        self.updates = 0
        self.batch: Batch | None = None  # that is learned from
        self.accumulated: list[Tensor] = []  # sum of the gradients since the last update, each times its weight
        self.accumulated_batches = 0  # in that sum
        self.accumulated_weight: float | Tensor | None = 0.0  # of them; None where an older run did not weigh them

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        if type(task).loss is Task.loss:
            raise task.no_loss_error()
        self.penalised, self.constrained = find_penalized(model), find_constrained(model)
        self.distributed = self._make_distributed(model) if current_group().world_size > 1 else None
        self.params = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.optimizer_factory, self.params)
        self.schedule = self.schedule_factory(self.optimizer) if self.schedule_factory else None
        self.update = make_updater(self.optimizer, self.params, self._evaluate if self._can_evaluate_again() else None)
        if self.diagnose:
            self.diagnosis = StateGradients(model, self.loss)
        if self.compile:
            if self.scaler is not None:
                raise UsageError("procedure.compile=step was given with trainer.precision=16; needed: 32 or bf16")
            if _has_recurrent_kernels(model):
                raise UsageError(
                    f"procedure.compile=step was given with {type(model).__name__}, whose recurrent layers are torch's "
                    "own kernels, and no compiler's matter; type procedure.compile=null"
                )
            from dlx.procedures.compiled import CompiledStep

            self.compiled = CompiledStep(model, task, self.optimizer, self.penalised, self.clip_norm)

    def _make_distributed(self, model: nn.Module) -> "DistributedGradients | None":
        """Make what takes the gradient over several processes; None where it is exchanged after it was taken."""
        from dlx.distributed.gradients import DistributedGradients, refuse_sharding

        if self.strategy == "fsdp":
            refuse_sharding(model, self.constrained)
        elif self.accumulate > 1:
            return None
        strategy: Literal["ddp", "fsdp"] = "fsdp" if self.strategy == "fsdp" else "ddp"
        return DistributedGradients(current_group(), model, self.loss, strategy)

    def loss(self, batch: Batch) -> Tensor:
        """Return the task's loss and the penalties, 0-d."""
        return self.add_penalties(self.task.loss(self.model, batch))

    def add_penalties(self, loss: Tensor) -> Tensor:
        """Add the model's penalties to a loss, 0-d."""
        for module in self.penalised:
            loss = loss + module.penalty()
        return loss

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.batch = batch
        if self.diagnosis is not None:
            self.diagnosis.batch = batch
        if self.compiled is not None:
            return self._finish_update(self.compiled(batch))
        weight: float | Tensor = 1.0
        share: float | Tensor = 1.0
        if self.accumulate > 1:
            weight = current_group().weigh_share(self.task.weigh(batch))
            share = weight / current_group().fraction  # the gradients have been multiplied by the fraction
        if self.distributed is not None:
            scale = share * (1.0 if self.scaler is None else self.scaler.factor)
            return self._descend(*self.distributed(batch, scale), weight)
        grads, loss = self.micro_batches(batch)
        if self.accumulate > 1:
            grads = [None if g is None else g * share for g in grads]
        return self._descend(grads, loss, weight)

    def _can_evaluate_again(self) -> bool:
        """Return whether an optimizer may ask for the loss of the batch again, at other weights."""
        plain = self.accumulate == 1 and self.clip_norm is None and self.clip_value is None and self.scaler is None
        return self.repeatable and plain and current_group().world_size == 1

    def _evaluate(self) -> tuple[Gradients, Tensor]:
        """Return the gradient of the batch's loss at the weights as they are, and the loss, detached."""
        assert self.batch is not None
        return self.micro_batches(self.batch)

    def _compute_gradient(self, loss: Tensor) -> tuple[Gradients, Tensor]:
        """Return the gradient of a loss, 0-d, and the loss, detached."""
        scaled = current_group().weight_by_examples(loss if self.scaler is None else self.scaler.scale(loss))
        # allow_unused: a head that this loss does not reach keeps its weights, as with .backward().
        return torch.autograd.grad(scaled, self.params, allow_unused=True), loss.detach()

    def _descend(self, grads: Gradients, loss: Tensor, weight: float | Tensor = 1.0) -> dict[str, Tensor]:
        """Take one step down a gradient, or add it, which has been multiplied by `weight`, to those of a step."""
        values = {"loss": loss}
        if self.accumulate > 1:
            self._accumulate(grads, weight)
            if self.accumulated_batches < self.accumulate:
                return values
            grads = self._take_accumulated()
        values.update(self._update_weights(grads))
        return values

    def _update_weights(self, grads: Any) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        if self.distributed is None:
            grads = current_group().sum_gradients(grads)
        if self.scaler is not None and not self.scaler.unscale([g for g in grads if g is not None]):
            return values
        if self.clip_value is not None:
            torch._foreach_clamp_min_([g for g in grads if g is not None], -self.clip_value)
            torch._foreach_clamp_max_([g for g in grads if g is not None], self.clip_value)
        logs_norm = self.grad_norm_every and self.updates % self.grad_norm_every == 0
        if logs_norm or self.clip_norm is not None:
            norm = torch.nn.utils.get_total_norm([g for g in grads if g is not None])
            if logs_norm:
                values["gradient_norm"] = norm
            if self.clip_norm is not None:
                torch._foreach_mul_([g for g in grads if g is not None], (self.clip_norm / (norm + 1e-6)).clamp(max=1))
        self.update(grads)
        return self._finish_update(values)

    def _finish_update(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do what follows every update of the weights: count it, constrain them, step the schedule."""
        if "gradient_norm" in values and not (self.grad_norm_every and self.updates % self.grad_norm_every == 0):
            del values["gradient_norm"]
        self.updates += 1
        for module in self.constrained:
            module.constrain()
        self._step_schedule()
        return values

    def _step_schedule(self) -> None:
        if self.schedule is not None:
            self.schedule.step()

    def _accumulate(self, grads: Any, weight: float | Tensor) -> None:
        dense = [torch.zeros_like(p) if g is None else g for p, g in zip(self.params, grads, strict=True)]
        if self.accumulated_batches:
            if self.accumulated_weight is None:  # of batches that were full, as this one most likely is
                torch._foreach_mul_(self.accumulated, weight)
                self.accumulated_weight = weight * self.accumulated_batches
            torch._foreach_add_(self.accumulated, dense)
        else:
            self.accumulated, self.accumulated_weight = dense, 0.0
        self.accumulated_batches += 1
        self.accumulated_weight = self.accumulated_weight + weight

    def _take_accumulated(self) -> list[Tensor]:
        grads, weight = self.accumulated, self.accumulated_weight
        total = self.accumulated_batches if weight is None else current_group().sum_weights(weight)
        self.accumulated, self.accumulated_batches, self.accumulated_weight = [], 0, 0.0
        torch._foreach_div_(grads, total.clamp(min=1) if isinstance(total, Tensor) else max(total, 1))
        return grads

    def end_epoch(self) -> dict[str, Tensor]:
        values = self._update_weights(self._take_accumulated()) if self.accumulated_batches else {}
        if self.schedule is not None:
            self.schedule.end_epoch()
        if self.diagnosis is not None:
            values |= self.diagnosis.measure()
        return {**values, "lr": torch.tensor(float(self.optimizer.param_groups[0]["lr"]), dtype=torch.float64)}

    def pictures(self) -> dict[str, Tensor]:
        return {} if self.diagnosis is None else self.diagnosis.pictures()

    def on_validation_end(self, metrics: dict[str, float]) -> None:
        if self.schedule is not None:
            self.schedule.on_validation_end(metrics[self.task.monitor])

    def pop_notices(self) -> list[str]:
        notices, self.micro_batches.notices = self.micro_batches.notices, []
        return notices

    def run_metadata(self) -> dict[str, Any]:
        return {} if self.micro_batches.size is None else {"micro_batch": self.micro_batches.size}

    def performance_hint(self, steps: int) -> str | None:
        # Measured on a 64-32-10 network: compiling takes 6-18 s the first time, and a step then takes 0.6 of this one's
        # 0.1 ms. On larger networks the eager step is as fast.
        plain = self.accumulate == 1 and self.clip_value is None and self.scaler is None
        small = sum(p.numel() for p in self.params) < 1e5 and self.params[0].device.type == "cpu"
        can_compile = (
            plain and small and type(self.optimizer).__name__ in COMPILABLE and not _has_recurrent_kernels(self.model)
        )
        if self.compile or not can_compile or current_group().world_size > 1 or steps < 400_000:
            return None
        return f"procedure.compile=step would pay over {steps:,} steps: seconds to compile, then 0.6 of the time"

    def _keep_on_first_rank(self) -> None:
        """Leave what was accumulated to the first of several processes; of sharded gradients each keeps its shard."""
        if current_group().rank:
            if self.distributed is None and self.accumulated:
                torch._foreach_zero_(self.accumulated)
            self.accumulated_weight = None if self.accumulated_weight is None else 0.0

    def state_dict(self) -> dict[str, Any]:
        with without_dynamo():
            optimizer = gather_full_tensors(self.optimizer.state_dict(), current_group().world_size)
        accumulated = self.accumulated
        if current_group().world_size > 1 and accumulated and self.distributed is None:
            accumulated = self.accumulated = current_group().sum_gradients(accumulated)
        weight = None if self.accumulated_weight is None else current_group().sum_weights(self.accumulated_weight)
        self.accumulated_weight = weight
        self._keep_on_first_rank()
        return {
            **super().state_dict(),
            "optimizer": optimizer,
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "updates": self.updates,
            "gathered": gather_full_tensors(accumulated, current_group().world_size),
            "waiting": self.accumulated_batches,
            "waiting_weight": weight,
            "micro_batch": self.micro_batches.size,
            **({} if self.diagnosis is None else {"diagnosis": self.diagnosis.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.optimizer.load_state_dict(shard_like(state["optimizer"], self.params, current_group().world_size))
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.micro_batches.size = state.get("micro_batch")
        self.updates, self.accumulated_batches = state["updates"], state["waiting"]
        device = self.params[0].device if self.params else "cpu"
        self.accumulated = [g.to(device) for g in state["gathered"]]
        if current_group().world_size > 1:
            self.accumulated = shard_tensors(self.accumulated, self.params)
        self.accumulated_weight = state.get("waiting_weight")
        self._keep_on_first_rank()
        if self.diagnosis is not None:
            self.diagnosis.load_state_dict(state["diagnosis"], device)


def _has_recurrent_kernels(model: nn.Module) -> bool:
    """Return whether torch's recurrent modules are in it, through which its compiler makes no whole graph."""
    return any(isinstance(module, nn.RNNBase) for module in model.modules())
