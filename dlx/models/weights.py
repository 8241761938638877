"""Initializers, penalties and constraints of a whole model's weights, whichever layers hold them.

For models whose layers are not written as a list: recurrent networks and autoencoders. Those of `mlp` and `cnn` have
the same settings layer by layer (`dlx.models.layers`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.constraints import Apply, Constraint, make_constraint
from dlx.models.initializers import Initializer, initialize
from dlx.models.layers import ActivityPenalty, add_penalties, limit_unit_norm
from dlx.types import NonNegative, Positive


class Held(NamedTuple):
    """A weight, and the module that holds it."""

    module: nn.Module
    name: str
    part: str  # kernel, recurrent or bias
    units: int  # the dimension along which units, or filters, are counted
    is_bounded: bool  # whether constraints hold for it

    @property
    def weight(self) -> Tensor:
        """The weight as it is by now."""
        weight: Tensor = getattr(self.module, self.name)
        return weight


class WeightRules(nn.Module):
    """Penalties l1 Σ|w| + l2 Σw² and constraints of weights that other modules hold.

    Args:
        held: the weights.
        penalties: (l1, l2) by part.
        constraints: what is done to a weight after each step, by part, made for its dimension of units.
    """

    def __init__(
        self,
        held: list[Held],
        penalties: Mapping[str, tuple[float, float]],
        constraints: Mapping[tuple[str, int], list[Apply]],
    ) -> None:
        super().__init__()
        self.held = tuple(held)  # a tuple of its own: nn.Module would list the holders as parts of this one
        self.penalties, self.constraints = dict(penalties), dict(constraints)

    @property
    def has_penalty(self) -> bool:
        """Whether there is a penalty."""
        return any(any(both) for both in self.penalties.values())

    @property
    def has_constraint(self) -> bool:
        """Whether there is a constraint."""
        return any(self.constraints.values())

    def penalty(self) -> Tensor:
        """Return the sum of the penalties, 0-d."""
        terms: list[Tensor] = []
        for one in self.held:
            add_penalties(terms, one.weight, *self.penalties[one.part])
        return torch.stack(terms).sum()

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the weights back to where they may be; frozen ones stay as they are."""
        for one in self.held:
            if one.is_bounded and one.weight.requires_grad:
                for apply in self.constraints.get((one.part, one.units), ()):
                    apply(one.weight)


class WeightSettings(NamedTuple):
    """What `WeightedModel` was given, by part: kernel, recurrent, bias."""

    initializers: Mapping[str, Any]
    penalties: Mapping[str, tuple[float, float]]
    constraints: Mapping[str, Any]
    max_norm: float | None


class WeightedModel(nn.Module):
    """Base of models with one setting for all their layers; a subclass calls `apply_weight_settings` when it is built.

    Args:
        kernel_init: of the weights that inputs meet; of a recurrent layer each gate's block by itself.
        recurrent_init: of the weights from state to state, each gate's block by itself.
        bias_init: of the biases; of a recurrent layer's two, which are added, the second is then zero.
        l1, l2: weights of the kernels' penalties l1 Σ|w| + l2 Σw².
        recurrent_l1, recurrent_l2, bias_l1, bias_l2: those of the recurrent kernels' and the biases' (of a recurrent
            layer both of its biases).
        activity_l1, activity_l2: weights of l1 Σ|h| + l2 Σh² of the hidden states, or the code, the mean over a batch.
        max_norm: bound on the norm of each unit's incoming weights, the scores' excepted.
        kernel_constraint, recurrent_constraint, bias_constraint: max_norm, min_max_norm, unit_norm or non_negative,
            after each step; the scores' layer excepted.
    """

    scores: ClassVar[tuple[str, ...]] = ("readout", "head")  # layers for which no constraint holds
    has_activity: ClassVar[bool] = True  # whether there is something that a penalty on activities means

    def __init__(
        self,
        kernel_init: Initializer = "default",
        recurrent_init: Initializer = "default",
        bias_init: Initializer = "default",
        l1: NonNegative = 0.0,
        l2: NonNegative = 0.0,
        recurrent_l1: NonNegative = 0.0,
        recurrent_l2: NonNegative = 0.0,
        bias_l1: NonNegative = 0.0,
        bias_l2: NonNegative = 0.0,
        activity_l1: NonNegative = 0.0,
        activity_l2: NonNegative = 0.0,
        max_norm: Positive | None = None,
        kernel_constraint: Constraint | None = None,
        recurrent_constraint: Constraint | None = None,
        bias_constraint: Constraint | None = None,
    ) -> None:
        super().__init__()
        self._settings: WeightSettings | None = WeightSettings(
            {"kernel": kernel_init, "recurrent": recurrent_init, "bias": bias_init},
            {"kernel": (l1, l2), "recurrent": (recurrent_l1, recurrent_l2), "bias": (bias_l1, bias_l2)},
            {"kernel": kernel_constraint, "recurrent": recurrent_constraint, "bias": bias_constraint},
            max_norm,
        )
        self.activity_penalty: ActivityPenalty | None = None
        if activity_l1 or activity_l2:
            if not self.has_activity:
                raise UsageError(
                    f"model.activity_l1={activity_l1:g} and activity_l2={activity_l2:g} were given to "
                    f"{type(self).__name__}, whose code has a prior already; type model.activity_l1=0 "
                    "model.activity_l2=0, and model.beta for more of the prior"
                )
            self.activity_penalty = ActivityPenalty(activity_l1, activity_l2)

    def penalize_activity(self, *states: Tensor) -> None:
        """Note the hidden states of a forward pass, or its code, (batch, ..., units) each, for the penalty on them."""
        if self.activity_penalty is not None:
            self.activity_penalty(torch.cat(states, -1))

    def apply_weight_settings(self) -> None:
        """Initialize the weights of all layers, and keep what the penalties and the constraints need.

        Raises:
            UsageError: an unknown name, or settings that it does not take.
        """
        settings, self._settings = self._settings, None  # the weights themselves say the rest
        assert settings is not None
        held = list(self._iter_weights())
        for one in held:
            _initialize(one, settings.initializers[one.part])
        makers: dict[tuple[str, int], list[Apply]] = {}
        for one in held:
            key = one.part, one.units
            made = make_constraint(settings.constraints[one.part], one.units)
            makers[key] = [made] if made is not None else []
            if one.part == "kernel" and settings.max_norm is not None:
                makers[key].append(limit_unit_norm(settings.max_norm, one.units))
        rules = WeightRules(held, settings.penalties, makers)
        if rules.has_penalty or rules.has_constraint:
            self.weight_rules = rules

    def _iter_weights(self) -> Iterator[Held]:
        for name, module in self.named_modules():
            bounded = name.partition(".")[0] not in self.scores
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                units = int(isinstance(module, nn.modules.conv._ConvTransposeNd))
                yield Held(module, "weight", "kernel", units, bounded)
                if module.bias is not None:
                    yield Held(module, "bias", "bias", 0, bounded)
            elif isinstance(module, nn.RNNBase):
                for own, _ in module.named_parameters(recurse=False):
                    part = "bias" if own.startswith("bias") else "recurrent" if "_hh" in own else "kernel"
                    yield Held(module, own, part, 0, bounded)
            elif isinstance(module, nn.ParameterList):  # biases of layers whose weights are another layer's
                for own, _ in module.named_parameters(recurse=False):
                    yield Held(module, own, "bias", 0, bounded)


@torch.no_grad()
def _initialize(one: Held, how: Any) -> None:
    if how == "default":
        return
    if isinstance(one.module, nn.RNNBase) and "_hr" not in one.name:
        second = one.part == "bias" and "_hh" in one.name
        for block in one.weight.split(one.module.hidden_size):
            initialize(block, 0.0 if second else how)
        return
    kernel = one.weight.transpose(0, one.units).contiguous()
    initialize(kernel, how)
    one.weight.copy_(kernel.transpose(0, one.units))
