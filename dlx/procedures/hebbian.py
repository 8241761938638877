"""Store patterns: one pass that gathers what a memory keeps of them, and then all is done.

D. O. Hebb, "The Organization of Behavior", 1949: what fires together is wired together.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.models.interfaces import Remarking, Storing
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task


class Hebbian(Procedure):
    """Gather in steps and store at the end of the pass: the same memory, whatever the batches."""

    requires = Storing
    shuffle = False  # patterns are kept in the order of the dataset
    by_batches = False
    one_pass = True

    def __init__(self) -> None:
        self.gathered: dict[str, Tensor] = {}
        self.notices: list[str] = []  # to be shown at once

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.learner = cast(Storing, model)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.gathered = self.learner.gather(self.gathered, batch.x)
        return {}

    def end_epoch(self) -> dict[str, Tensor]:
        values = self.learner.store(self.gathered)
        self.gathered, self.done = {}, True
        self.notices += filter(None, [self.model.remark(values)] if isinstance(self.model, Remarking) else [])
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def pop_notices(self) -> list[str]:
        notices, self.notices = self.notices, []
        return notices

    def state_dict(self) -> dict[str, Any]:
        """Return what was gathered too: a run that is cut off within the pass goes on where it stood."""
        return {**super().state_dict(), "gathered": self.gathered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.gathered = dict(state["gathered"])
