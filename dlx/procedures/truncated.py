"""Back-propagation through time, truncated: an update after every k steps of the sequences.

R. J. Williams, J. Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories",
Neural Computation 2, 1990 (their BPTT(h; h') with h = h' = k); P. Werbos, Proc. IEEE 78, 1990.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dlx.batch import Batch
from dlx.distributed.group import current_group
from dlx.errors import UsageError
from dlx.models.interfaces import Bidirectional
from dlx.procedures.backprop import Backprop
from dlx.procedures.schedule import Schedule
from dlx.tasks.steps import Steps, StepTask, as_step_model
from dlx.tasks.task import Task
from dlx.types import Count, Natural, Positive


class TruncatedBackprop(Backprop):
    """Cut the sequences of a batch into pieces of k steps and learn from each in turn, by its mean loss.

    The state is carried from piece to piece and the gradient is not, so that memory and the work between two updates
    do not grow with the length of the sequences; what is remembered for longer than k steps is not learned by its use.
    With k at least the length of the sequences this is `Backprop`. A scheduler by steps moves once a batch, as there.

    Of several processes each exchanges its gradient after every piece.

    Args:
        optimizer, scheduler, clip_norm, clip_value, grad_norm_every, diagnose: as in `Backprop`.
        k: steps of a piece.
    """

    repeatable = False  # each piece of a batch makes an update
    shards = False  # the pieces carry a state from one to the next, past the wrapper around the loss

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        k: Count = 50,
        clip_norm: Positive | None = None,
        clip_value: Positive | None = None,
        grad_norm_every: Natural = 50,
        diagnose: Literal["gradients"] | None = None,
    ) -> None:
        super().__init__(
            optimizer, scheduler, clip_norm, clip_value, grad_norm_every=grad_norm_every, diagnose=diagnose
        )
        self.k = k

    def _make_distributed(self, model: nn.Module) -> None:
        return None

    def bind(self, model: nn.Module, task: Task) -> None:
        if not isinstance(task, StepTask):
            raise UsageError(
                f"procedure=tbptt was given with task={type(task).__name__.lower()}, which asks for an answer at the "
                "end of a sequence; needed: a task with one at every step, prediction, tagging or transduction; "
                "type procedure=backprop"
            )
        if isinstance(model, Bidirectional) and model.bidirectional:
            raise UsageError(
                "procedure=tbptt was given a model that reads sequences from both ends, which has no state to go on "
                "from; type model.bidirectional=false, or procedure=backprop"
            )
        super().bind(model, task)
        self.steps = task

    def step(self, batch: Batch) -> dict[str, Tensor]:
        steps, before = self.steps.pairs(batch), self.updates
        values = super().step(batch) if steps.x.shape[1] <= self.k else self._learn_in_pieces(batch, steps)
        if self.updates > before:
            super()._step_schedule()
        return values

    def _step_schedule(self) -> None:
        """Do nothing after an update: batches are what schedules are made for, and the number of pieces may vary."""

    def performance_hint(self, steps: int) -> str | None:
        return None

    def _learn_in_pieces(self, batch: Batch, steps: Steps) -> dict[str, Tensor]:
        if self.diagnosis is not None:
            self.diagnosis.batch = batch
        model, T = as_step_model(self.model), steps.x.shape[1]
        is_asked = current_group().any_rank(steps.counts.any(0)).tolist()  # of every step, in any process
        state: Any = None
        values: dict[str, Tensor] = {}
        total = torch.zeros((), device=steps.x.device)
        for start in range(0, T, self.k):
            piece = steps.cut(start, min(start + self.k, T))
            has_loss = any(
                is_asked[start : start + self.k]
            )  # else it is only read: the input of a task that copies, say
            with torch.set_grad_enabled(has_loss):
                scores, state = model.steps(piece.x, piece.lengths, state)
            if has_loss:
                values |= self._descend(*self._compute_gradient(self.add_penalties(self.steps.mean(scores, piece))))
                total = total + values["loss"] * piece.counts.sum()
            state = tree_map_only(Tensor, Tensor.detach, state)
        values["loss"] = total / steps.counts.sum().clamp(min=1)  # as over the whole sequences
        return values
