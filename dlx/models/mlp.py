"""The multilayer perceptron: dense layers of any number and size.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", Nature 323, 1986,
https://doi.org/10.1038/323533a0. Dropout and max-norm as in N. Srivastava et al., JMLR 15, 2014.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dlx.models.activations import Activation
from dlx.models.constraints import Constraint
from dlx.models.initializers import Initializer
from dlx.models.layer_spec import HiddenLayerSpec, parse_layer, parse_output
from dlx.models.layers import Dense
from dlx.types import Count, Fraction, NonNegative, Positive


class MLP(nn.Module):
    """h_0 = x, h_i = f(W_i h_{i-1} + b_i), and scores W h_n + b, without an activation unless `output` has one.

    Args:
        shape: of one example; it is flattened.
        outputs: number of scores: the classes, or the targets of a regression.
        hidden: units of each hidden layer; an entry may be a mapping of `units` and any of the settings below, which
            then hold for that layer alone: `{units: 256, activation: null, l1: 0.01}`.
        activation: any of torch.nn's by name, with settings or without (`{leaky_relu: 0.3}`); null for none.
        dropout: part of each hidden layer's outputs that is dropped in training; input_dropout that of the inputs.
        batch_norm: normalise before each activation.
        kernel_init, bias_init: `default` (torch's), any of docs/deck_lists.md, with settings or without, or a number.
        l1, l2, bias_l1, bias_l2: penalties l1 Σ|w| + l2 Σw² of kernels and biases, part of the loss.
        activity_l1, activity_l2: penalties l1 Σ|h| + l2 Σh² of what each hidden layer gives, the mean over a batch.
        max_norm: bound on the norm of each hidden unit's incoming weights.
        kernel_constraint, bias_constraint: max_norm, min_max_norm, unit_norm or non_negative; not of the scores.
        output: settings of the last layer, as for an entry of `hidden` (no units, and no activation but its own).
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        hidden: Sequence[Any] = (256,),
        activation: Activation | None = "relu",
        dropout: Fraction = 0.0,
        input_dropout: Fraction = 0.0,
        batch_norm: bool = False,
        kernel_init: Initializer = "default",
        bias_init: Initializer = "default",
        l1: NonNegative = 0.0,
        l2: NonNegative = 0.0,
        bias_l1: NonNegative = 0.0,
        bias_l2: NonNegative = 0.0,
        activity_l1: NonNegative = 0.0,
        activity_l2: NonNegative = 0.0,
        max_norm: Positive | None = None,
        kernel_constraint: Constraint | None = None,
        bias_constraint: Constraint | None = None,
        output: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        common = {
            "activation": activation,
            "dropout": dropout,
            "batch_norm": batch_norm,
            "kernel_init": kernel_init,
            "bias_init": bias_init,
            "l1": l1,
            "l2": l2,
            "bias_l1": bias_l1,
            "bias_l2": bias_l2,
            "activity_l1": activity_l1,
            "activity_l2": activity_l2,
            "max_norm": max_norm,
            "kernel_constraint": kernel_constraint,
            "bias_constraint": bias_constraint,
        }
        self.layers = nn.Sequential()
        if input_dropout:
            self.layers.append(nn.Dropout(input_dropout))
        size = math.prod(shape)
        for place, entry in enumerate(hidden):
            given = entry if isinstance(entry, Mapping) else {"units": entry}
            layer = parse_layer(DenseLayerSpec, given, common, f"model.hidden[{place}]")
            self.layers.extend(layer.build_modules(size, layer.units).values())
            size = layer.units
        last = parse_output(output, common)
        self.layers.append(Dense(size, outputs, **last.regularizers()))
        self.softmax, shown = last.make_activation()
        self.layers.extend(shown.values())

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.layers(x.flatten(1))
        return output


@dataclass(kw_only=True)
class DenseLayerSpec(HiddenLayerSpec):
    """One hidden layer."""

    units: Count
