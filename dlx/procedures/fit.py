"""Learn at once: gather the training split, then fit, as scikit-learn does."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.models.interfaces import Fittable, Remarking
from dlx.procedures.procedure import Procedure
from dlx.tasks.task import Task


class Fit(Procedure):
    """Gather the examples in the order of the dataset, fit them at the end of the pass, and be done."""

    requires = Fittable
    shuffle = False  # the same order as in `dataset.splits["train"]`: a fit by hand gives the same
    by_batches = False
    one_pass = True

    def __init__(self) -> None:
        self.x: list[Tensor] = []  # on the CPU, whatever the device
        self.y: list[Tensor] = []
        self.notices: list[str] = []  # to be shown at once

    def bind(self, model: nn.Module, task: Task) -> None:
        super().bind(model, task)
        self.learner = cast(Fittable, model)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.x.append(batch.x.detach().cpu())
        if batch.y is not None:
            self.y.append(batch.y.cpu())
        return {}

    def end_epoch(self) -> dict[str, Tensor]:
        values = self.learner.fit(torch.cat(self.x), torch.cat(self.y) if self.y else None)
        self.x, self.y, self.done = [], [], True
        self.notices += filter(None, [self.model.remark(values or {})] if isinstance(self.model, Remarking) else [])
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in (values or {}).items()}

    def pop_notices(self) -> list[str]:
        notices, self.notices = self.notices, []
        return notices

    def state_dict(self) -> dict[str, Any]:
        """Return what was gathered too: a run that is cut off within the pass goes on where it stood."""
        return {**super().state_dict(), "x": self.x, "y": self.y}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.x, self.y = ([part.cpu() for part in state[name]] for name in ("x", "y"))
