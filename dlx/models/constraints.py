"""What weights must be like after each step: Keras's constraints, by name.

A norm is that of a unit's, or a filter's, incoming weights; of a bias it is that of the whole vector. In Keras these
are `axis=0` of a dense layer and `axis=[0, 1, 2]` of a convolution.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from dlx.config.names import Named, bind_choice
from dlx.errors import UsageError

Constraint = Annotated[Any, Named("constraint")]  # a name, or a name with its settings
Apply = Callable[[Tensor], None]  # to a weight, in place
EPSILON = 1e-7  # beside norms that are divided by, as in Keras


def _norms(w: Tensor, units: int) -> Tensor:
    rest = [d for d in range(w.ndim) if w.ndim == 1 or d != units % w.ndim]
    norms: Tensor = torch.linalg.vector_norm(w, dim=rest, keepdim=True)
    return norms


def limit_norm(w: Tensor, units: int, max: float = 2.0) -> None:
    """Shrink each unit's weights to the norm `max` (N. Srivastava et al. 2014, §5.1)."""
    norms = _norms(w, units)
    w.mul_(norms.clamp(max=max) / (norms + EPSILON))


def keep_norm_between(w: Tensor, units: int, min: float = 0.0, max: float = 1.0, rate: float = 1.0) -> None:
    """Bring each unit's norm into [min, max], by a part `rate` of the way."""
    norms = _norms(w, units)
    wanted = rate * norms.clamp(min, max) + (1 - rate) * norms
    w.mul_(wanted / (norms + EPSILON))


def make_unit_norm(w: Tensor, units: int) -> None:
    """Scale each unit's weights to the norm 1."""
    w.div_(_norms(w, units) + EPSILON)


def make_non_negative(w: Tensor, units: int) -> None:
    """Set negative weights to zero."""
    w.clamp_(min=0)


CONSTRAINTS: dict[str, Callable[..., None]] = {
    "max_norm": limit_norm,
    "min_max_norm": keep_norm_between,
    "unit_norm": make_unit_norm,
    "non_negative": make_non_negative,
}


def make_constraint(choice: Any, units: int = 0) -> Apply | None:
    """Make the function that constrains a weight in place; None for no constraint.

    Args:
        choice: a name, `{max_norm: 3}`, `{min_max_norm: {min: 0.5, max: 1}}`, or None.
        units: the dimension of the weight along which units, or filters, are counted.

    Raises:
        UsageError: there is no such constraint, or it has no such settings, or these are no numbers.
    """
    if choice is None:
        return None
    name, function, settings = bind_choice("constraint", choice, CONSTRAINTS, skip=2)
    for key, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise UsageError(f"constraint {name} was given {key} {value!r}; needed: a number of at least 0")

    def apply(w: Tensor) -> None:
        function(w, units, **settings)

    return apply
