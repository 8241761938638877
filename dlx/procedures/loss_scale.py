"""Loss scaling for float16, whose small gradients would underflow to zero.

P. Micikevicius et al., "Mixed Precision Training", 2018, https://arxiv.org/abs/1710.03740, §3.2.
"""

import torch
from torch import Tensor


class LossScale:
    """Multiply the loss before the backward pass and divide the gradients after it.

    The factor halves when a gradient overflows (that update is left out) and doubles after 2000 updates without one:
    the rule of torch.amp.GradScaler, which wants `.grad` fields and an optimizer that this project's steps do without.
    """

    def __init__(self, factor: float = 2.0**16, patience: int = 2000) -> None:
        self.factor, self.patience, self.good = factor, patience, 0

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss times the factor, 0-d."""
        return loss * self.factor

    def unscale(self, grads: list[Tensor]) -> bool:
        """Divide the gradients in place; return False, to leave this update out, where one is not finite."""
        torch._foreach_div_(grads, self.factor)
        finite = bool(torch.stack([g.isfinite().all() for g in grads]).all())
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.factor /= 2
        elif self.good == self.patience:
            self.factor, self.good = self.factor * 2, 0
        return finite

    def state_dict(self) -> dict[str, float]:
        """Return the factor and the count of updates since it last changed."""
        return {"factor": self.factor, "good": self.good}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.factor, self.good = state["factor"], int(state["good"])
