"""Optimizers' updates of many models at once, each by its own numbers.

The equations are torch's, on one matrix: row k holds all parameters of trial k, and one of the optimizer's numbers is a
column, (K, 1). The slots are such matrices too; a trial's optimizer has views of its row as its state, so that its
`state_dict` is what that of a run alone would be.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dlx.optimizers.graves_rmsprop import GravesRMSprop
from dlx.vectorized.not_vectorizable import NotVectorizable

Numbers = Mapping[str, Any]  # by name: a number, or a column (K, 1) where the trials have different ones


class Rule:
    """One optimizer's equations. Options that `numbers` does not name must be the same for all trials.

    Args:
        groups: each trial's one parameter group.
    """

    numbers: ClassVar[tuple[str, ...]] = ()
    counts_steps: ClassVar[bool] = False  # whether the state of each parameter holds the number of steps
    use_kernel = True  # torch's fused one; not in what is compiled, which has better ones

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self.group = groups[0]

    @property
    def slots(self) -> Sequence[str]:
        """Names of the state that is kept for every parameter."""
        return ()

    def keeps(self, slot: str, group: Mapping[str, Any]) -> bool:
        """Whether a trial's own optimizer would keep this slot."""
        return True

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        """Update the parameters p (K, P) and the slots s (K, P) by the gradients g (K, P), at step t (0-d)."""
        raise NotImplementedError


def add_weight_decay(p: Tensor, g: Tensor, n: Numbers) -> Tensor:
    """Return the gradient plus weight decay times the parameters."""
    decay = n["weight_decay"]
    return g if _is_zero(decay) else g + decay * p


def _is_zero(number: Any) -> bool:
    """Whether a number is zero for all trials."""
    return not isinstance(number, Tensor) and number == 0


class SGD(Rule):
    """v = μ v + (1 - dampening) g; w = w - lr (g + μ v with Nesterov, else v)."""

    numbers = ("lr", "momentum", "weight_decay", "dampening")

    def __init__(self, groups: Sequence[Mapping[str, Any]], momentum_scheduled: bool = False) -> None:
        super().__init__(groups)
        self.has_momentum = momentum_scheduled or any(group["momentum"] for group in groups)

    @property
    def slots(self) -> Sequence[str]:
        return ["momentum_buffer"] if self.has_momentum else []

    def keeps(self, slot: str, group: Mapping[str, Any]) -> bool:
        return bool(group["momentum"])

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        g = add_weight_decay(p, g, n)
        if self.has_momentum:
            v, momentum = s["momentum_buffer"], n["momentum"]
            moved = momentum * v + (1 - n["dampening"]) * g
            # torch starts the velocity at the first gradient, undamped, and leaves it alone while there is no momentum
            moved = moved if _is_zero(n["dampening"]) else torch.where(t == 1, g, moved)
            on = torch.as_tensor(momentum) != 0
            v.copy_(torch.where(on, moved, v))
            g = g + momentum * v if self.group["nesterov"] else torch.where(on, v, g)
        p.sub_(n["lr"] * g)


class Adam(Rule):
    """Algorithm 1 of Kingma & Ba 2014; AdamW decays the weights apart from the gradient."""

    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay")
    counts_steps = True
    slots = ("exp_avg", "exp_avg_sq")

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        m, v, beta1, beta2, eps = s["exp_avg"], s["exp_avg_sq"], n["beta1"], n["beta2"], n["eps"]
        if self.group.get("decoupled_weight_decay"):
            if not _is_zero(n["weight_decay"]):
                p.mul_(1 - n["lr"] * n["weight_decay"])
        else:
            g = add_weight_decay(p, g, n)
        if self.use_kernel and p.is_cpu and not any(isinstance(number, Tensor) for number in (beta1, beta2, eps)):
            # torch's kernel has one learning rate for all: at 1, from zero, it gives the direction.
            direction = torch.zeros_like(p)
            numbers = {"beta1": beta1, "beta2": beta2, "eps": eps, "lr": 1.0, "weight_decay": 0.0}
            torch._fused_adam_([direction], [g], [m], [v], [], [t], **numbers, amsgrad=False, maximize=False)
            p.addcmul_(direction, n["lr"])
            return
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).add_((1 - beta2) * g.square())
        scale = n["lr"] / (1 - beta1**t)
        p.sub_(scale * m / (v.sqrt() / (1 - beta2**t) ** 0.5 + eps))


class RMSprop(Rule):
    """v = α v + (1 - α) g²; w = w - lr g / (√v + ε), with the variance for v if centred, and momentum if any."""

    numbers = ("lr", "alpha", "eps", "weight_decay", "momentum")
    counts_steps = True

    def __init__(self, groups: Sequence[Mapping[str, Any]], momentum_scheduled: bool = False) -> None:
        super().__init__(groups)
        self.has_momentum = momentum_scheduled or any(group["momentum"] for group in groups)

    @property
    def slots(self) -> Sequence[str]:
        return ["square_avg", *["momentum_buffer"] * self.has_momentum, *["grad_avg"] * bool(self.group["centered"])]

    def keeps(self, slot: str, group: Mapping[str, Any]) -> bool:
        return slot != "momentum_buffer" or bool(group["momentum"])

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        g, v, alpha = add_weight_decay(p, g, n), s["square_avg"], n["alpha"]
        v.mul_(alpha).add_((1 - alpha) * g.square())
        if self.group["centered"]:
            s["grad_avg"].lerp_(g, 1 - alpha)
            change = g / ((v - s["grad_avg"].square()).sqrt() + n["eps"])
        else:
            change = g / (v.sqrt() + n["eps"])
        if self.has_momentum:
            s["momentum_buffer"].mul_(n["momentum"]).add_(change)
            change = s["momentum_buffer"]
        p.sub_(n["lr"] * change)


class Adagrad(Rule):
    """v = v + g²; w = w - lr / (1 + (t - 1) lr_decay) · g / (√v + ε)."""

    numbers = ("lr", "lr_decay", "eps", "weight_decay")
    counts_steps = True
    slots = ("sum",)

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        g = add_weight_decay(p, g, n)
        s["sum"].add_(g.square())
        p.sub_(n["lr"] / (1 + (t - 1) * n["lr_decay"]) * g / (s["sum"].sqrt() + n["eps"]))


class Adadelta(Rule):
    """v = ρ v + (1 - ρ) g²; Δ = g √(u + ε) / √(v + ε); u = ρ u + (1 - ρ) Δ²; w = w - lr Δ."""

    numbers = ("lr", "rho", "eps", "weight_decay")
    counts_steps = True
    slots = ("square_avg", "acc_delta")

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        g, v, u, rho = add_weight_decay(p, g, n), s["square_avg"], s["acc_delta"], n["rho"]
        v.mul_(rho).add_((1 - rho) * g.square())
        change = (u + n["eps"]).sqrt() / (v + n["eps"]).sqrt() * g
        u.mul_(rho).add_((1 - rho) * change.square())
        p.sub_(n["lr"] * change)


class Graves(Rule):
    """Eqs. 38-41 of Graves 2013, as `GravesRMSprop` has them."""

    numbers = ("lr", "alpha", "momentum", "eps")
    slots = ("square", "mean", "delta")

    def __call__(self, p: Tensor, g: Tensor, s: Mapping[str, Tensor], t: Tensor, n: Numbers) -> None:
        v, mean, delta, alpha = s["square"], s["mean"], s["delta"], n["alpha"]
        v.mul_(alpha).add_((1 - alpha) * g.square())
        mean.lerp_(g, 1 - alpha)
        delta.mul_(n["momentum"]).sub_(n["lr"] * g / (v - mean.square() + n["eps"]).sqrt())
        p.add_(delta)


RULES: dict[type[torch.optim.Optimizer], type[Rule]] = {
    torch.optim.SGD: SGD,
    torch.optim.Adam: Adam,
    torch.optim.AdamW: Adam,
    torch.optim.RMSprop: RMSprop,
    torch.optim.Adagrad: Adagrad,
    torch.optim.Adadelta: Adadelta,
    GravesRMSprop: Graves,
}
KERNEL_SWITCHES = ("foreach", "fused", "capturable", "differentiable")  # how torch computes it, not what


def get_hyperparameters(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter group's numbers and switches, by one name each: `betas` as beta1 and beta2."""
    options = {
        key: value for key, value in group.items() if key not in ("params", "initial_lr", "betas", *KERNEL_SWITCHES)
    }
    return options | (dict(zip(("beta1", "beta2"), group["betas"], strict=True)) if "betas" in group else {})


def make_rule(optimizers: Sequence[torch.optim.Optimizer], momentum_scheduled: bool) -> Rule:
    """Return the rule of these trials' optimizers.

    Args:
        optimizers: one for each trial.
        momentum_scheduled: a schedule may turn the momentum on.

    Raises:
        NotVectorizable: there is none.
    """
    kind = type(optimizers[0])
    if kind not in RULES or any(type(other) is not kind for other in optimizers):
        raise NotVectorizable(f"the optimizer {kind.__name__} has no stacked form")
    if any(len(optimizer.param_groups) > 1 for optimizer in optimizers):
        raise NotVectorizable("the optimizer has several parameter groups")
    rule, groups = RULES[kind], [optimizer.param_groups[0] for optimizer in optimizers]
    for name, value in get_hyperparameters(groups[0]).items():
        if name in ("amsgrad", "maximize", "foreach") and value:
            raise NotVectorizable(f"optimizer.{name} has no stacked form")
        if name not in rule.numbers and any(get_hyperparameters(group)[name] != value for group in groups):
            raise NotVectorizable(f"optimizer.{name} differs")
    return rule(groups, momentum_scheduled) if rule in (SGD, RMSprop) else rule(groups)
