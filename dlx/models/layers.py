"""Layers and names shared by several networks: activations, initializers, regularizers, dense layers."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.interfaces import Constrained, Penalized
from dlx.types import NonNegative, Positive

INITIALIZERS: dict[str, Callable[[Tensor], Any]] = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
}


def initialize(tensor: Tensor, how: str | float) -> None:
    """Fill a parameter in place by an initializer's name, or with a constant; `default` leaves torch's own.

    Raises:
        UsageError: there is no initializer of this name.
    """
    if isinstance(how, (int, float)):
        nn.init.constant_(tensor, how)
    elif how in INITIALIZERS:
        INITIALIZERS[how](tensor)
    elif how != "default":
        raise UsageError(f"initializer {how!r} was given; needed: default, {', '.join(INITIALIZERS)}, or a number")


def make_activation(name: str | None) -> nn.Module:
    """Make any activation of torch.nn by name, in either spelling (`leaky_relu`, `LeakyReLU`); null is the identity.

    Raises:
        UsageError: torch.nn has none of this name.
    """
    if name is None or name in ("linear", "identity"):
        return nn.Identity()
    kinds: dict[str, type[nn.Module]] = {kind.lower(): getattr(nn, kind) for kind in nn.modules.activation.__all__}
    kind = kinds.get(name.replace("_", "").lower())
    if kind is None:
        raise UsageError(
            f"activation {name!r} was given; needed: one of torch.nn's, such as relu, tanh, sigmoid, gelu, "
            "leaky_relu, elu, softplus, or null"
        )
    return kind()


@dataclass(kw_only=True)
class Regularizers:
    """A layer's initializers, penalties and norm constraint, as in the layers of Keras.

    The penalties are l1 Σ|w| + l2 Σw² as Keras defines them, without a ½, on the kernel and on the bias apart; they
    are part of the loss, so every optimizer sees their gradient (an optimizer's weight_decay is another thing).

    Args:
        kernel_init, bias_init: initializers by name, or constants.
        l1, l2: weights of the kernel's penalties.
        bias_l1, bias_l2: weights of the bias's penalties.
        max_norm: each unit's (or filter's) incoming weights are kept within this Euclidean norm (Srivastava et al.
            2014, §5.1).
    """

    kernel_init: str | float = "default"
    bias_init: str | float = "default"
    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
    bias_l1: NonNegative = 0.0
    bias_l2: NonNegative = 0.0
    max_norm: Positive | None = None

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
        with torch.no_grad():
            kernel = self.weight.transpose(0, self.unit_dim).contiguous()  # (units, incoming, ...), as fans are counted
            initialize(kernel, settings.kernel_init)
            self.weight.copy_(kernel.transpose(0, self.unit_dim))
        if self.bias is not None:
            initialize(self.bias, settings.bias_init)

    def penalty(self) -> Tensor | None:
        """Return l1 Σ|w| + l2 Σw² over kernel and bias, 0-d; None where no penalty is asked for."""
        terms = []
        for name, (l1, l2) in self.penalties.items():
            w = getattr(self, name)
            if _counts(l1) and w is not None:
                terms.append(l1 * w.abs().sum())
            if _counts(l2) and w is not None:
                terms.append(l2 * w.square().sum())
        return torch.stack(terms).sum() if terms else None

    @torch.no_grad()
    def constrain(self) -> None:
        """Shrink the kernel's part of each unit to `max_norm`."""
        if self.max_norm is not None:
            self.weight.renorm_(2, self.unit_dim, self.max_norm)

    @property
    def has_penalty(self) -> bool:
        """Whether there is a penalty."""
        weights = (w for name, both in self.penalties.items() if getattr(self, name) is not None for w in both)
        return any(map(_counts, weights))


def _counts(weight: float | Tensor) -> bool:
    """Return whether a penalty's weight counts; a tensor, which holds several trials' weights, always does."""
    return isinstance(weight, Tensor) or weight != 0


class Dense(Regularized, nn.Linear):
    """y = W x + b for x (batch, inputs) and y (batch, outputs), with `Regularizers`."""

    def __init__(self, inputs: int, outputs: int, **regularizers: Any) -> None:
        super().__init__(inputs, outputs)
        self.init_regularized(Regularizers(**regularizers))


def find_penalized(model: nn.Module) -> list[Any]:
    """Return the submodules whose `penalty()` belongs to the loss."""
    return [
        m for m in model.modules() if isinstance(m, Penalized) and (not isinstance(m, Regularized) or m.has_penalty)
    ]


def find_constrained(model: nn.Module) -> list[Any]:
    """Return the submodules whose `constrain()` is called after each step; frozen weights stay as they are."""
    return [
        m
        for m in model.modules()
        if isinstance(m, Constrained)
        and (not isinstance(m, Regularized) or (m.max_norm is not None and m.weight.requires_grad))
    ]
