"""Competitive learning: units compete for each example, and the winners, with their neighbours, come nearer to it."""

from typing import Any, Literal, cast

from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.models.interfaces import Competing, CompetingAtOnce
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task
from dlx.types import Count


class Competitive(Procedure):
    """Let units compete, and tell the model how much of the training is over: it anneals its rates and neighbourhoods.

    Progress is counted in examples, not steps: the schedule is the same for every size of batch, and for a run that was
    interrupted. Resumed for more epochs, a run goes on where the longer schedule stands after as many examples.

    Args:
        total: examples that the whole training sees, epochs times examples; dlx fills it in.
        update: `online`, one example after the other; the size of a batch does not matter. `minibatch`, all examples
            of a batch at once, much faster on a GPU. `batch`, once a pass, from all examples.

    Raises:
        UsageError: the model does not know this kind of update (when bound).
    """

    requires = Competing

    def __init__(self, total: Count, update: Literal["online", "minibatch", "batch"] = "online") -> None:
        self.total, self.update = total, update
        self.seen = 0
        self.seen_before_pass = 0  # examples of the passes that are over
        self.sums: dict[str, Tensor] = {}  # of a pass, for update=batch

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.learner, self.all_at_once = cast(Competing, model), cast(CompetingAtOnce, model)
        if self.update not in self.learner.updates:
            raise UsageError(
                f"procedure.update={self.update} was given for the model {type(model).__name__}; needed: "
                f"{' or '.join(self.learner.updates)}; type procedure.update={self.learner.updates[0]}"
            )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        x, seen, total = batch.x, self.seen, self.total
        self.seen += len(x)
        if self.update == "online":
            return self.learner.online(x, seen, total)
        if self.update == "minibatch":
            return self.all_at_once.minibatch(x, seen, total)
        self.sums = self.all_at_once.gather(self.sums, x, self.seen_before_pass, total)
        return {}

    def end_epoch(self) -> dict[str, Tensor]:
        self.seen_before_pass = self.seen
        if self.update != "batch":
            return {}
        values = self.all_at_once.replace(self.sums)
        self.sums = {}
        return values

    def performance_hint(self, steps: int) -> str | None:
        device = next((buffer.device.type for buffer in self.model.buffers()), "cpu")
        if self.update == "online" and device != "cpu" and "minibatch" in self.learner.updates:
            return f"one example after the other leaves a device idle; procedure.update=minibatch keeps {device} busy"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the count of examples seen too, and the sums of a pass that is not over."""
        return {**super().state_dict(), "seen": self.seen, "passed": self.seen_before_pass, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.seen, self.seen_before_pass, self.sums = state["seen"], state["passed"], dict(state["sums"])
