"""Layers shared by several networks: penalties and constraints of a layer's weights, and the dense layer."""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from dlx.models.activations import make_activation
from dlx.models.constraints import Apply, Constraint, make_constraint
from dlx.models.initializers import INITIALIZERS, Initializer, initialize
from dlx.models.interfaces import Constrained, Penalized
from dlx.types import NonNegative, Positive

__all__ = [
    "INITIALIZERS",
    "ActivityPenalty",
    "Dense",
    "Regularized",
    "Regularizers",
    "find_constrained",
    "find_penalized",
    "initialize",
    "make_activation",
]


@dataclass(kw_only=True)
class Regularizers:
    """A layer's initializers, penalties and norm constraint, as in the layers of Keras.

    The penalties are l1 Σ|w| + l2 Σw² as Keras defines them, without a ½, on the kernel and on the bias apart; they
    are part of the loss, so every optimizer sees their gradient (an optimizer's weight_decay is another thing).

    Args:
        kernel_init, bias_init: initializers by name, with settings or without, or constants.
        l1, l2: weights of the kernel's penalties.
        bias_l1, bias_l2: weights of the bias's penalties.
        activity_l1, activity_l2: weights of the penalties of what the layer gives, h: l1 Σ|h| + l2 Σh², divided by
            the examples of the batch.
        max_norm: each unit's (or filter's) incoming weights are kept within this Euclidean norm (Srivastava et al.
            2014, §5.1).
        kernel_constraint, bias_constraint: max_norm, min_max_norm, unit_norm or non_negative, after each step.
    """

    kernel_init: Initializer = "default"
    bias_init: Initializer = "default"
    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
    bias_l1: NonNegative = 0.0
    bias_l2: NonNegative = 0.0
    activity_l1: NonNegative = 0.0
    activity_l2: NonNegative = 0.0
    max_norm: Positive | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    def make_activity_penalty(self) -> dict[str, nn.Module]:
        """Make the module that comes last in a layer, behind its activation; empty where nothing is penalized."""
        l1, l2 = self.activity_l1, self.activity_l2
        return {"activity": ActivityPenalty(l1, l2)} if _counts(l1) or _counts(l2) else {}

    def regularizers(self) -> dict[str, Any]:
        """Return these settings alone, of a class that has more."""
        return {field.name: getattr(self, field.name) for field in fields(Regularizers)}


class Regularized:
    """Mixin of layers with `weight` and `bias` for `Regularizers`; call `init_regularized` when both are set."""

    weight: Tensor
    bias: Any  # a parameter, or None
    unit_dim = 0  # the dimension of `weight` along which the units, or filters, are counted

    def init_regularized(self, settings: Regularizers) -> None:
        """Initialize the weights, and store what the penalties and the constraint need."""
        self.penalties = {"weight": (settings.l1, settings.l2), "bias": (settings.bias_l1, settings.bias_l2)}
        self.max_norm = settings.max_norm
        made = {
            "weight": make_constraint(settings.kernel_constraint, self.unit_dim),
            "bias": make_constraint(settings.bias_constraint),
        }
        self.constraints: dict[str, Apply] = {name: one for name, one in made.items() if one is not None}
        with torch.no_grad():
            kernel = self.weight.transpose(0, self.unit_dim).contiguous()  # (units, incoming, ...), as fans are counted
            initialize(kernel, settings.kernel_init)
            self.weight.copy_(kernel.transpose(0, self.unit_dim))
        if self.bias is not None:
            initialize(self.bias, settings.bias_init)

    def penalty(self) -> Tensor | None:
        """Return l1 Σ|w| + l2 Σw² over kernel and bias, 0-d; None where no penalty is asked for."""
        terms: list[Tensor] = []
        for name, (l1, l2) in self.penalties.items():
            add_penalties(terms, getattr(self, name), l1, l2)
        return torch.stack(terms).sum() if terms else None

    @torch.no_grad()
    def constrain(self) -> None:
        """Shrink the kernel's part of each unit to `max_norm`, and apply the constraints."""
        if self.max_norm is not None:
            self.weight.renorm_(2, self.unit_dim, self.max_norm)
        for name, apply in self.constraints.items():
            w = getattr(self, name)
            if w is not None and w.requires_grad:
                apply(w)

    @property
    def has_constraint(self) -> bool:
        """Whether there is a constraint, on weights that learn."""
        learns = {name: w is not None and w.requires_grad for name, w in (("weight", self.weight), ("bias", self.bias))}
        return (self.max_norm is not None and learns["weight"]) or any(learns[name] for name in self.constraints)

    @property
    def has_penalty(self) -> bool:
        """Whether there is a penalty."""
        weights = (w for name, both in self.penalties.items() if getattr(self, name) is not None for w in both)
        return any(map(_counts, weights))


def _counts(weight: float | Tensor) -> bool:
    """Return whether a penalty's weight counts; a tensor, which holds several trials' weights, always does."""
    return isinstance(weight, Tensor) or weight != 0


def add_penalties(terms: list[Tensor], w: Tensor | None, l1: float | Tensor, l2: float | Tensor) -> None:
    """Append l1 Σ|w| and l2 Σw² of a weight, 0-d each, where they count."""
    if _counts(l1) and w is not None:
        terms.append(l1 * w.abs().sum())
    if _counts(l2) and w is not None:
        terms.append(l2 * w.square().sum())


def limit_unit_norm(bound: float, units: int) -> Apply:
    """Return the function that shrinks each unit's weights to a Euclidean norm."""

    def apply(w: Tensor) -> None:
        w.renorm_(2, units, bound)

    return apply


class ActivityPenalty(nn.Module):
    """l1 Σ|h| + l2 Σh² of what passes through, divided by the examples: Keras's activity regularizer.

    Args:
        l1, l2: the weights.
    """

    def __init__(self, l1: float, l2: float) -> None:
        super().__init__()
        self.l1: Any = l1
        self.l2: Any = l2
        self.value: Tensor | None = None  # of the batch that was seen last, in training

    def forward(self, h: Tensor) -> Tensor:
        """Return h, (batch, ...), as it is."""
        terms: list[Tensor] = []
        if self.training:
            add_penalties(terms, h, self.l1, self.l2)
        self.value = torch.stack(terms).sum() / len(h) if terms else None
        return h

    def penalty(self) -> Tensor:
        """Return the penalty of the last batch, 0-d; zero of one that did not pass through here."""
        value, self.value = self.value, None
        return torch.zeros(()) if value is None else value

    def extra_repr(self) -> str:
        return f"l1={self.l1}, l2={self.l2}"


class Dense(Regularized, nn.Linear):
    """y = W x + b for x (batch, inputs) and y (batch, outputs), with `Regularizers`."""

    def __init__(self, inputs: int, outputs: int, **regularizers: Any) -> None:
        super().__init__(inputs, outputs)
        self.init_regularized(Regularizers(**regularizers))


def find_penalized(model: nn.Module) -> list[Any]:
    """Return the submodules whose `penalty()` belongs to the loss."""
    return [m for m in model.modules() if isinstance(m, Penalized) and getattr(m, "has_penalty", True)]


def find_constrained(model: nn.Module) -> list[Any]:
    """Return the submodules whose `constrain()` is called after each step; frozen weights stay as they are."""
    return [m for m in model.modules() if isinstance(m, Constrained) and getattr(m, "has_constraint", True)]
