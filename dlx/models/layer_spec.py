"""Layer specifications in YAML: `hidden: [256, {units: 64, dropout: 0.5}]`, each entry checked against a dataclass.

The dataclass is the schema of an entry as a constructor is that of a whole model: its fields are the keys, their
annotations what each may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from dlx.config.report import find_closest
from dlx.config.static.schema import format_value
from dlx.config.static.signature import read_signature
from dlx.errors import UsageError
from dlx.models.layers import Dense, Regularizers, make_activation
from dlx.types import Fraction

Entry = TypeVar("Entry")


@dataclass(kw_only=True)
class WeightedLayerSpec(Regularizers):
    """Settings of any layer with weights, beside its regularizers.

    Args:
        activation: any of torch.nn's by name; null for none.
        batch_norm: normalise before the activation.
    """

    activation: str | None
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
        if self.dropout:
            modules["dropout"] = nn.Dropout(self.dropout)
        return modules


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
            near = find_closest(str(key), known)
            hint = f"did you mean {near}?" if near else f"needed: some of {', '.join(known)}"
            problems.append(f"{where} was given {key}; {hint}")
    for key, parameter in known.items():
        if key in values or parameter.required:
            value = values.get(key)
            if not parameter.kind.accepts(value):
                problems.append(f"{where} was given {key} {format_value(value)}; needed: {parameter.kind}")
    if problems:
        raise UsageError("\n".join(problems))
    return kind(**values)
