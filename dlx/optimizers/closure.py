"""Optimizers that look at the loss again within a step, as L-BFGS does: torch's closures, for gradients made here.

D. C. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", Math. Programming 45, 1989.
"""

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.hardware.random_state import get_random_state, set_random_state

Gradients = tuple[Tensor, ...] | list[Tensor]
Evaluate = Callable[[], tuple[Gradients, Tensor]]  # gradients and loss, 0-d, of the batch, at the weights as they are


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimizer's `step` asks for a closure: its signature says so."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


class ClosureStep:
    """One step of an optimizer that evaluates the loss as often as it wants.

    Within a step every evaluation draws the same random numbers, so that dropout drops the same units and the optimizer
    sees one function.

    Args:
        optimizer: whose `step` takes a closure.
        params: what it updates.
        evaluate: computes gradients and loss again.

    Raises:
        UsageError: nobody can evaluate the loss again.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, params: Sequence[Tensor], evaluate: Evaluate | None = None
    ) -> None:
        if evaluate is None:
            raise UsageError(
                f"the optimizer {type(optimizer).__name__} was given, which computes the loss several times in a step; "
                "needed: procedure=backprop in one process, in 32 bits, without accumulate, clip_norm and clip_value; "
                "type optimizer=adam for another"
            )
        self.optimizer, self.params, self.evaluate = optimizer, params, evaluate

    def __call__(self, grads: Gradients) -> None:
        """Update the parameters; the gradients given, at the first weights, are computed again with the others."""
        state = get_random_state()

        def closure() -> float:
            set_random_state(state)
            grads, loss = self.evaluate()
            for param, grad in zip(self.params, grads, strict=True):
                param.grad = torch.zeros_like(param) if grad is None else grad
            return float(loss)

        self.optimizer.step(closure)
        for param in self.params:
            param.grad = None
