"""Activations by name: torch.nn's, in any spelling, and those of Keras that torch has no module for."""

from collections.abc import Callable
from typing import Annotated, Any

from torch import Tensor, nn

from dlx.config.names import NAMES, Named, bind_choice
from dlx.errors import UsageError

Activation = Annotated[Any, Named("activation")]  # a name, or a name with its settings


class Exponential(nn.Module):
    """y = exp x, such as for the rates of a Poisson loss."""

    def forward(self, x: Tensor) -> Tensor:
        """Return exp x, of the shape of x."""
        return x.exp()


class Softmax(nn.Module):
    """exp x_i / Σ_j exp x_j.

    Args:
        dim: that j runs along; null for the channels of maps (batch, C, H, W), else the last.
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return shares, of the shape of x."""
        return x.softmax(self._find_dim(x))

    def _find_dim(self, x: Tensor) -> int:
        return self.dim if self.dim is not None else 1 if x.ndim > 3 else -1

    def extra_repr(self) -> str:
        return "" if self.dim is None else f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(self._find_dim(x))


class Softmin(Softmax):
    """The softmax of -x."""

    def forward(self, x: Tensor) -> Tensor:
        return (-x).softmax(self._find_dim(x))


def _find_in_torch(name: str) -> Callable[..., nn.Module]:
    kinds = {kind.lower(): kind for kind in nn.modules.activation.__all__}
    found: Callable[..., nn.Module] = getattr(nn, kinds[name.replace("_", "")])
    return found


OWN: dict[str, Callable[..., nn.Module]] = {
    "linear": nn.Identity,
    "exponential": Exponential,
    "softmax": Softmax,
    "log_softmax": LogSoftmax,
    "softmin": Softmin,
}
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    name: OWN.get(name) or _find_in_torch(name) for name in NAMES["activation"].own
}


def make_activation(choice: Any) -> nn.Module:
    """Make an activation by name, in either spelling (`leaky_relu`, `LeakyReLU`); null is the identity.

    Args:
        choice: a name, or `{leaky_relu: {negative_slope: 0.3}}`, or `{leaky_relu: 0.3}`.

    Raises:
        UsageError: there is none of this name, or it has no such settings.
    """
    if choice is None:
        return nn.Identity()
    name, kind, settings = bind_choice("activation", choice, ACTIVATIONS)
    try:
        return kind(**settings)
    except TypeError as error:
        raise UsageError(f"activation {name} needs its settings: {error}; type {{{name}: {{…}}}}") from error


def is_softmax(module: nn.Module | None) -> bool:
    """Return whether an activation makes shares of scores: then they are what a cross entropy is computed of."""
    return isinstance(module, Softmax | nn.Softmax) and not isinstance(module, LogSoftmax | Softmin)


def apply_output(activation: nn.Module | None, scores: Tensor) -> Tensor:
    """Return what a network shows, (batch, outputs), of its scores: those themselves without an output activation."""
    shown: Tensor = scores if activation is None else activation(scores)
    return shown
