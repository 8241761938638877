"""Wake-sleep: the way up teaches the way down while awake, and is taught by dreams.

G. E. Hinton, P. Dayan, B. J. Frey, R. M. Neal, Science 268, 1995, https://doi.org/10.1126/science.7761831. With a
restricted Boltzmann machine on top, as the up-down algorithm: G. E. Hinton, S. Osindero, Y.-W. Teh, Neural Computation
18, 2006, https://doi.org/10.1162/neco.2006.18.7.1527, appendix B.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.models.interfaces import WakeSleepModel
from dlx.procedures.descent import Descent
from dlx.procedures.schedule import Schedule
from dlx.types import Count


class WakeSleep(Descent):
    """Take the directions of both phases as gradients, though of no common function.

    Args:
        optimizer: a torch.optim class without its parameters.
        scheduler: a torch.optim.lr_scheduler class without its optimizer.
        steps: of Gibbs sampling in the undirected top, where there is one; 3, 6 and 10 in the paper of 2006.
    """

    requires = WakeSleepModel

    def __init__(
        self,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Schedule] | None = None,
        steps: Count = 3,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.steps = steps

    def trainable_parameters(self, model: nn.Module) -> dict[str, Tensor]:
        taught = cast(WakeSleepModel, model).wake_sleep_parameters()
        return {name: p for name, p in super().trainable_parameters(model).items() if name in taught}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        values, directions = cast(WakeSleepModel, self.model).wake_sleep(batch.x, batch.y, self.steps)
        self.update(self.average_gradients([directions[name] for name in self.named]))
        self.advance()
        return values
