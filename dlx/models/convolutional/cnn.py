"""A convolutional network written as a list of layers.

Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 86, 1998, §II.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dlx.config.report import find_closest
from dlx.config.static.schema import format_value
from dlx.errors import UsageError
from dlx.models.activations import Activation
from dlx.models.constraints import Constraint
from dlx.models.convolutional.image import check_image_shape
from dlx.models.convolutional.layer_spec import KINDS, SETTINGS, DenseLayer, LayerSpec, Shape
from dlx.models.initializers import Initializer
from dlx.models.layer_spec import parse_layer, parse_output
from dlx.types import Count, Fraction, NonNegative, Positive


class CNN(nn.Module):
    """The layers of a list, one after the other, and dense scores without an activation at the end.

    An entry is a mapping whose first key says what it is, or that word alone where it needs no value:

        {conv: 64, kernel: [3, 5], stride: 2, padding: same, dilation: 1, groups: 1, bias: true}
        {separable: 64, kernel: 3, depth_multiplier: 1}             and what conv has but groups
        {transposed: 32, kernel: 2, stride: 2, output_padding: 0}   and what conv has but groups
        {max_pool: 3, stride: 2, padding: same}, {average_pool: 2}, global_average_pool, global_max_pool
        batch_norm, {activation: relu}, {dropout: 0.5}, {spatial_dropout: 0.1}, flatten
        {dense: 128}

    The kinds with weights also take `activation`, `batch_norm` (between the two), the initializers, penalties and
    bound below, and `spatial_dropout` (convolutional ones) or `dropout` (dense ones); the model's own hold otherwise.
    Modules are named by kind and place, `layers.conv0`, `layers.conv0_act`, `layers.max_pool1`.

    Args:
        shape: of one image, (channels, height, width).
        outputs: number of scores.
        layers: the entries, the scores left out.
        activation: any of torch.nn's by name, with settings or without (`{leaky_relu: 0.3}`); null for none.
        batch_norm: normalise before each activation.
        dropout: part of each dense layer's outputs that is dropped in training.
        spatial_dropout: part of each convolutional layer's maps that is dropped in training.
        kernel_init, bias_init: `default` (torch's), any of docs/deck_lists.md, with settings or without, or a number.
        l1, l2, bias_l1, bias_l2: penalties l1 Σ|w| + l2 Σw² of kernels and biases, part of the loss.
        activity_l1, activity_l2: penalties l1 Σ|h| + l2 Σh² of what each hidden layer gives, the mean over a batch.
        max_norm: bound on the norm of each filter, and of each dense unit's incoming weights.
        kernel_constraint, bias_constraint: max_norm, min_max_norm, unit_norm or non_negative; not of the scores.
        output: initializers and penalties of the scores' layer; it has no bound unless it is given one here.

    Raises:
        UsageError: not an image, or a layer that is mistyped or does not fit the one before it.
    """

    accepts = ("image",)

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        layers: Sequence[Any],
        activation: Activation | None = "relu",
        batch_norm: bool = False,
        dropout: Fraction = 0.0,
        spatial_dropout: Fraction = 0.0,
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
            "batch_norm": batch_norm,
            "dropout": dropout,
            "spatial_dropout": spatial_dropout,
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
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        size: Shape = check_image_shape(shape, 1, "cnn")
        for place, entry in enumerate(layers):
            where = f"model.layers[{place}]"
            kind, layer = _parse_entry(entry, common, where)
            size = _append(modules, layer, size, f"{kind}{place}", where)
        last = parse_output(output, common)
        plain = {**last.regularizers(), "activity_l1": 0.0, "activity_l2": 0.0}  # they come after the activation
        scores = DenseLayer(dense=outputs, activation=None, batch_norm=False, dropout=0.0, **plain)
        _append(modules, scores, size, "output", "model.output")
        self.softmax, shown = last.make_activation()
        modules |= {f"output_{part}": module for part, module in shown.items()}
        self.layers = nn.Sequential(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape)."""
        output: Tensor = self.layers(x)
        return output


def _parse_entry(entry: Any, common: Mapping[str, Any], where: str) -> tuple[str, LayerSpec]:
    """Return the kind of an entry, and the entry checked."""
    given = {entry: None} if isinstance(entry, str) else entry
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} was given {format_value(entry)}; needed: a mapping such as {{conv: 32, kernel: 3}}")
    kinds = [kind for kind in KINDS if kind in given]
    if not kinds:
        near = next(filter(None, (find_closest(str(key), KINDS) for key in given)), None)
        raise UsageError(
            f"{where} was given {format_value(entry)}{f'; did you mean {near}?' if near else ''}; "
            f"needed: one of {', '.join(KINDS)}"
        )
    layers = [kind for kind in kinds if kind not in SETTINGS]
    if len(layers) > 1:
        raise UsageError(f"{where} was given {' and '.join(layers)}; needed: one of them, and an entry for each other")
    return kinds[0], parse_layer(KINDS[kinds[0]], given, common, where)


def _append(modules: dict[str, nn.Module], layer: LayerSpec, shape: Shape, name: str, where: str) -> Shape:
    """Add the modules of an entry and return the shape of their output."""
    try:
        built = layer.build(shape)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    for part, module in built.modules.items():
        modules[f"{name}_{part}" if part else name] = module
    return built.shape
