"""A momentum that grows: the schedule that Boltzmann machines are trained with."""

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler


class MomentumRamp(LRScheduler):
    """Momentum `first` for some epochs, then the optimizer's own; and, if wanted, a rate that falls to zero.

    G. E. Hinton, "A Practical Guide to Training Restricted Boltzmann Machines", 2010, §9: one half while the large
    changes happen, 0.9 afterwards.

    Args:
        optimizer: torch.optim.SGD, or another with a momentum.
        first: momentum of the first epochs.
        epochs: how many they are.
        total: epochs over which the learning rate falls linearly to zero; None keeps it.
        last_epoch: as in torch's schedulers.

    Raises:
        ValueError: the optimizer has no momentum.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        first: float = 0.5,
        epochs: int = 5,
        total: int | None = None,
        last_epoch: int = -1,
    ) -> None:
        if any("momentum" not in group for group in optimizer.param_groups):
            raise ValueError(
                f"{type(optimizer).__name__} has no momentum; needed: an optimizer that has, such as torch.optim.SGD, "
                "or another schedule: scheduler=constant, ~procedure.pretrain.learner.scheduler"
            )
        self.first, self.epochs, self.total = first, epochs, total
        self.final = [group["momentum"] for group in optimizer.param_groups]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return the rates of this epoch, and set the momenta."""
        for group, final in zip(self.optimizer.param_groups, self.final, strict=True):
            group["momentum"] = self.first if self.last_epoch < self.epochs else final
        left = 1.0 if self.total is None else max(1 - self.last_epoch / self.total, 0.0)
        return [rate * left for rate in self.base_lrs]
