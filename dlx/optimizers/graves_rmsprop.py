"""Graves's RMSProp: centred, with ε inside the root, and momentum on the step itself.

Alex Graves, "Generating Sequences With Recurrent Neural Networks", 2013, https://arxiv.org/abs/1308.0850, eqs. 38-45.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from dlx.types import Fraction, Positive


class GravesRMSprop(torch.optim.Optimizer):
    """Divide each gradient ε_i by its running standard deviation.

    n = α n + (1-α) ε²; g = α g + (1-α) ε; Δ = μ Δ - lr · ε / √(n - g² + eps); w = w + Δ (eqs. 38-41).
    torch's RMSprop(centered=True) adds eps outside the root instead, which differs where the variance is small.

    Args:
        params: parameters or parameter groups.
        lr: the step, 1e-4 in the paper.
        alpha: decay of both running means, 0.95 in the paper.
        momentum: μ, 0.9 in the paper.
        eps: inside the root, 1e-4 in the paper.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Positive = 1e-4,
        alpha: Fraction = 0.95,
        momentum: Fraction = 0.9,
        eps: Positive = 1e-4,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "momentum": momentum, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(group, params, [p.grad for p in params])
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {name: torch.zeros_like(p) for name in ("square", "mean", "delta")}
        square, mean, delta = ([self.state[p][name] for p in params] for name in ("square", "mean", "delta"))
        alpha = group["alpha"]
        torch._foreach_mul_(square, alpha)
        torch._foreach_addcmul_(square, grads, grads, 1 - alpha)  # eq. 38
        torch._foreach_lerp_(mean, grads, 1 - alpha)  # eq. 39
        root = torch._foreach_mul(mean, mean)
        torch._foreach_neg_(root)
        torch._foreach_add_(root, square)
        torch._foreach_add_(root, group["eps"])
        torch._foreach_sqrt_(root)
        torch._foreach_mul_(delta, group["momentum"])
        torch._foreach_addcdiv_(delta, grads, root, -group["lr"])  # eq. 40
        torch._foreach_add_(params, delta)  # eq. 41
