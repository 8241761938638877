"""How weights begin: torch's initializers and Keras's, by name.

Every function fills a tensor (units, incoming, ...) in place: fan_in counts a unit's incoming weights, fan_out those
that leave an input, as torch and Keras count them. A bias, (units,), has both fans `units`, as in Keras.

Y. LeCun et al., "Efficient BackProp", 1998, §4.6; X. Glorot, Y. Bengio, AISTATS 2010 (Xavier); K. He et al., 2015,
https://arxiv.org/abs/1502.01852; A. Saxe et al., 2013, https://arxiv.org/abs/1312.6120 (orthogonal).
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from torch import Tensor, nn

from dlx.config.names import Named, bind_choice
from dlx.errors import UsageError

Initializer = Annotated[Any, Named("initializer")]  # a name, a name with its settings, or a number

# Standard deviation of a standard normal number that is drawn again beyond two: Keras divides by it.
TRUNCATED_STD = 0.87962566103423978

FAN_MODES: dict[str, Callable[[int, int], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
}


def initialize(tensor: Tensor, how: Any) -> None:
    """Fill a parameter in place by an initializer's name, or with a constant; `default` leaves torch's own.

    Args:
        tensor: (units, incoming, ...), or (units,) for a bias.
        how: a name, `{name: {setting: value}}`, or a number.

    Raises:
        UsageError: there is no initializer of this name, it has no such settings, or it fills no tensor of this shape.
    """
    if isinstance(how, int | float) and not isinstance(how, bool):
        nn.init.constant_(tensor, how)
        return
    name, fill, settings = bind_choice("initializer", how, INITIALIZERS, skip=1)
    try:
        fill(tensor, **settings)
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"initializer {name} was given for weights of shape {tuple(tensor.shape)}: {error}; "
            "type another one, such as xavier_uniform, or zeros for a bias"
        ) from error


def count_fans(tensor: Tensor) -> tuple[int, int]:
    """Return fan_in and fan_out."""
    if tensor.ndim < 2:
        return tensor.numel(), tensor.numel()
    window = tensor[0, 0].numel()
    return tensor.shape[1] * window, tensor.shape[0] * window


def fill_normal(tensor: Tensor, std: float = 0.05, mean: float = 0.0) -> None:
    """Draw normal numbers."""
    nn.init.normal_(tensor, mean, std)


def fill_truncated_normal(tensor: Tensor, std: float = 0.05, mean: float = 0.0) -> None:
    """Draw normal numbers, again beyond two standard deviations; `std` is that before the cut, as in Keras."""
    nn.init.trunc_normal_(tensor, mean, std, mean - 2 * std, mean + 2 * std)


def fill_uniform(tensor: Tensor, high: float = 0.05, low: float | None = None) -> None:
    """Draw numbers evenly from [low, high], low = -high unless it is given."""
    nn.init.uniform_(tensor, -high if low is None else low, high)


def scale_variance(
    tensor: Tensor,
    scale: float = 1.0,
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
    distribution: Literal["truncated_normal", "normal", "uniform"] = "truncated_normal",
) -> None:
    """Draw numbers of variance scale / fan."""
    if mode not in FAN_MODES or distribution not in DISTRIBUTIONS:
        raise ValueError(f"mode is one of {', '.join(FAN_MODES)}, distribution one of {', '.join(DISTRIBUTIONS)}")
    DISTRIBUTIONS[distribution](tensor, math.sqrt(scale / max(FAN_MODES[mode](*count_fans(tensor)), 1)))


DISTRIBUTIONS: dict[str, Callable[[Tensor, float], None]] = {  # by the standard deviation of what is drawn
    "truncated_normal": lambda w, std: fill_truncated_normal(w, std / TRUNCATED_STD),
    "normal": fill_normal,
    "uniform": lambda w, std: fill_uniform(w, math.sqrt(3) * std),
}


def _make_normal(scale: float, mode: str, is_truncated: bool) -> Callable[..., None]:
    def fill(tensor: Tensor, truncated: bool = is_truncated) -> None:
        scale_variance(tensor, scale, mode, "truncated_normal" if truncated else "normal")  # type: ignore[arg-type]

    return fill


def _make_uniform(scale: float, mode: str) -> Callable[[Tensor], None]:
    return lambda tensor: scale_variance(tensor, scale, mode, "uniform")  # type: ignore[arg-type]


def fill_identity(tensor: Tensor, gain: float = 1.0) -> None:
    """Fill with gain times the identity; a convolution's kernel so that it passes on what it sees."""
    if tensor.ndim < 2:
        raise ValueError("an identity needs a matrix")
    (nn.init.eye_ if tensor.ndim == 2 else nn.init.dirac_)(tensor)
    tensor.mul_(gain)


INITIALIZERS: dict[str, Callable[..., Any]] = {
    "default": lambda tensor: None,
    "zeros": lambda tensor: nn.init.zeros_(tensor),
    "ones": lambda tensor: nn.init.ones_(tensor),
    "constant": lambda tensor, value=0.0: nn.init.constant_(tensor, value),
    "normal": fill_normal,
    "truncated_normal": fill_truncated_normal,
    "uniform": fill_uniform,
    "variance_scaling": scale_variance,
    "orthogonal": lambda tensor, gain=1.0: nn.init.orthogonal_(tensor, gain),
    "identity": fill_identity,
    "lecun_uniform": _make_uniform(1.0, "fan_in"),
    "lecun_normal": _make_normal(1.0, "fan_in", True),  # only Keras has it, whose is cut
    "xavier_uniform": _make_uniform(1.0, "fan_avg"),
    "xavier_normal": _make_normal(1.0, "fan_avg", False),  # torch's are not cut, Keras's are
    "he_uniform": _make_uniform(2.0, "fan_in"),
    "he_normal": _make_normal(2.0, "fan_in", False),
}
