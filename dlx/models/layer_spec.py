"""Layer specifications in YAML: `hidden: [256, {units: 64, dropout: 0.5}]`, each entry checked against a dataclass.

The dataclass is the schema of an entry as a constructor is that of a whole model: its fields are the keys, their
annotations what each may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from dlx.config.names import explain_foreign_key
from dlx.config.report import find_closest
from dlx.config.static.schema import format_value
from dlx.config.static.signature import read_signature
from dlx.errors import UsageError
from dlx.models.activations import Activation, is_softmax, make_activation
from dlx.models.layers import Dense, Regularizers
from dlx.types import Fraction

Entry = TypeVar("Entry")


@dataclass(kw_only=True)
class WeightedLayerSpec(Regularizers):
    """Settings of any layer with weights, beside its regularizers.

    Args:
        activation: any of torch.nn's by name, with settings or without; null for none.
        batch_norm: normalise before the activation.
    """

    activation: Activation | None
    batch_norm: bool


@dataclass(kw_only=True)
class HiddenLayerSpec(WeightedLayerSpec):
    """Settings of a hidden dense layer.

    Args:
        dropout: part of its outputs that is dropped in training.
    """

    dropout: Fraction

    def build_modules(self, inputs: int, units: int) -> dict[str, nn.Module]:
        """Build the layer's modules by what they do, in their order; the layer itself is nameless."""
        modules: dict[str, nn.Module] = {"": Dense(inputs, units, **self.regularizers())}
        if self.batch_norm:
            modules["norm"] = nn.BatchNorm1d(units)
        if self.activation is not None:
            modules["act"] = make_activation(self.activation)
        modules |= self.make_activity_penalty()
        if self.dropout:
            modules["dropout"] = nn.Dropout(self.dropout)
        return modules


@dataclass(kw_only=True)
class OutputSpec(Regularizers):
    """Settings of the layer of the scores.

    Args:
        activation: of the scores. A softmax is understood: the network gives its scores before it, of which a cross
            entropy is computed without loss of precision, and the losses that look at what the network shows
            (mse, hinge, …) take the shares.
    """

    activation: Activation | None = None

    def make_activation(self) -> tuple[nn.Module | None, dict[str, nn.Module]]:
        """Return the softmax that the scores stand for, if it is one, and the modules that follow the layer."""
        made = None if self.activation is None else make_activation(self.activation)
        if is_softmax(made):
            return made, self.make_activity_penalty()
        return None, {**({} if made is None else {"act": made}), **self.make_activity_penalty()}


# Settings of the model that hold for its hidden layers alone.
HIDDEN_ONLY: dict[str, Any] = {
    "max_norm": None,
    "kernel_constraint": None,
    "bias_constraint": None,
    "activity_l1": 0.0,
    "activity_l2": 0.0,
    "activation": None,
}


def parse_output(given: Mapping[str, Any] | None, common: Mapping[str, Any]) -> OutputSpec:
    """Check the settings of the scores' layer, with those of the model for what it leaves out, bounds excepted.

    Raises:
        UsageError: see `parse_layer`.
    """
    return parse_layer(OutputSpec, given or {}, {**common, **HIDDEN_ONLY}, "model.output")


def parse_layer(kind: type[Entry], given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> Entry:
    """Check an entry and return it as its dataclass.

    Args:
        kind: the dataclass.
        given: the entry, from YAML or the command line.
        defaults: the model's own settings, for the fields that the entry leaves out.
        where: the entry's place in the configuration.

    Raises:
        UsageError: unknown keys or values of another type; all of them in one message.
    """
    known = read_signature(f"{kind.__module__}.{kind.__qualname__}").parameters
    values = {**{name: value for name, value in defaults.items() if name in known}, **given}
    problems = []
    for key in given:
        if key not in known:
            near = explain_foreign_key(str(key), known) or find_closest(str(key), known)
            hint = f"did you mean {near}?" if near else f"needed: some of {', '.join(known)}"
            problems.append(f"{where} was given {key}; {hint}")
    for key, parameter in known.items():
        if key in values or parameter.required:
            value = values.get(key)
            if not parameter.kind.accepts(value):
                near = parameter.kind.suggest(value)
                meant = f"did you mean {near}? " if near else ""
                problems.append(f"{where} was given {key} {format_value(value)}; {meant}needed: {parameter.kind}")
    if problems:
        raise UsageError("\n".join(problems))
    return kind(**values)
