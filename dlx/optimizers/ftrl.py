"""Follow the regularized leader.

H. B. McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1 (FTRL-Proximal), with the
names of Keras's `Ftrl`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from dlx.types import NonNegative, Positive


class FTRL(torch.optim.Optimizer):
    """n = n + g²; z = z + g' - (n^p - n_before^p) / lr · w; w = (clip(z, -λ₁, λ₁) - z) / (n^p / lr + 2 λ₂ + β / lr).

    p is `power`, ½ in the paper, and g' = g + 2 s w with the shrinkage s. A weight whose |z| is at most λ₁ is exactly
    zero. A network's weights begin at zero after the first step where z says so: with λ₁ the start is forgotten.

    Args:
        params: parameters or parameter groups.
        lr: α of the paper.
        l1, l2: λ₁ and λ₂.
        shrinkage: s, a penalty s w² on the weights as they are (Keras's l2_shrinkage).
        power: p, of the sum of squares; Keras's learning_rate_power is -p.
        initial: n at the beginning.
        beta: β of the paper.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Positive = 1e-3,
        l1: NonNegative = 0.0,
        l2: NonNegative = 0.0,
        shrinkage: NonNegative = 0.0,
        power: NonNegative = 0.5,
        initial: NonNegative = 0.1,
        beta: NonNegative = 0.0,
    ) -> None:
        numbers = {"lr": lr, "l1": l1, "l2": l2, "shrinkage": shrinkage, "power": power, "beta": beta}
        super().__init__(params, {**numbers, "initial": initial})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(group, p, p.grad)
        return loss

    def _update(self, group: dict[str, Any], p: Tensor, grad: Tensor) -> None:
        state = self.state[p]
        if not state:
            state["sum"] = torch.full_like(p, group["initial"])
            state["linear"] = torch.zeros_like(p)
        lr, power, z = group["lr"], group["power"], state["linear"]
        before = state["sum"].pow(power)
        state["sum"].addcmul_(grad, grad)
        now = state["sum"].pow(power)
        z.add_(grad + 2 * group["shrinkage"] * p - (now - before) / lr * p)
        curvature = now / lr + 2 * group["l2"] + group["beta"] / lr
        p.copy_((z.clamp(-group["l1"], group["l1"]) - z) / curvature)
