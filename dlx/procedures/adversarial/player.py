"""One of the two players of an adversarial game: a network with its own optimizer and schedule."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlx.distributed.group import current_group
from dlx.errors import UsageError
from dlx.optimizers.fused import make_optimizer, make_updater, without_dynamo
from dlx.procedures.loss_scale import LossScale
from dlx.procedures.schedule import Schedule


class Player:
    """A network that learns by its own gradient; one that is frozen plays and does not learn.

    Args:
        network: generator or discriminator.
        optimizer: a torch.optim class without its parameters.
        schedule: a torch.optim.lr_scheduler class without its optimizer; None for a constant rate.
        lr: where it is not the optimizer's own.
        measure_every: updates between two measurements of the gradient's norm; 0 for none.

    Raises:
        UsageError: a schedule that waits for a score, or values that the optimizer refuses.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer],
        schedule: Callable[[torch.optim.Optimizer], Schedule] | None,
        lr: float | None,
        measure_every: int,
    ) -> None:
        self.params = [p for p in network.parameters() if p.requires_grad]
        self.updates, self.measure_every = 0, measure_every
        self.optimizer = make_optimizer(optimizer, self.params) if self.params else None
        self.schedule: Schedule | None = None
        if self.optimizer is None:
            return
        if lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
        self.schedule = schedule(self.optimizer) if schedule else None
        if self.schedule is not None and self.schedule.is_plateau:
            raise UsageError(
                "scheduler=plateau was given; needed: one that waits for no score, since the losses of a game do not "
                "say which player is better; type scheduler=constant or scheduler=cosine"
            )
        self.update = make_updater(self.optimizer, self.params)

    @property
    def is_frozen(self) -> bool:
        """Whether it has no parameters that learn."""
        return not self.params

    @property
    def is_measured(self) -> bool:
        """Whether the next update's gradient norm is measured."""
        return bool(self.measure_every) and self.updates % self.measure_every == 0

    def learn(self, loss: Tensor, scaler: LossScale | None) -> Tensor | None:
        """Update down the gradient of `loss`; return the gradient's norm, 0-d, where it is to be logged."""
        if self.is_frozen:
            self.updates += 1
            return None
        group = current_group()
        scaled = group.weight_by_examples(loss if scaler is None else scaler.scale(loss))
        grads = group.sum_gradients(torch.autograd.grad(scaled, self.params))
        if scaler is not None and not scaler.unscale(list(grads)):
            return None
        norm = torch.nn.utils.get_total_norm(grads) if self.is_measured else None
        self.update(grads)
        self.updates += 1
        if self.schedule is not None:
            self.schedule.step()
        return norm

    def end_epoch(self) -> dict[str, Tensor]:
        """Finish an epoch; return `lr`, the learning rate, 0-d, if it learns."""
        if self.optimizer is None:
            return {}
        if self.schedule is not None:
            self.schedule.end_epoch()
        return {"lr": torch.tensor(float(self.optimizer.param_groups[0]["lr"]))}

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's and the schedule's state."""
        with without_dynamo():
            optimizer = self.optimizer.state_dict() if self.optimizer else None
        return {
            "optimizer": optimizer,
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.optimizer is not None:
            with without_dynamo():
                self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.updates = state["updates"]
