"""Select the layer, the class and the unit that a method explains, and check that the method fits the model."""

from typing import NamedTuple

from torch import nn

from dlx.config.report import find_closest, join_names
from dlx.errors import UsageError
from dlx.interpretability.layers import Layer
from dlx.interpretability.subject import Subject


class Choice(NamedTuple):
    """The user's choice of layer, class and unit; None leaves it to the method."""

    layer: str | None = None
    label: int | None = None  # the class that is explained; None for the one predicted
    unit: int | None = None  # a map or a unit of the layer


NEEDS_SCORES = ("saliency", "grad_cam", "occlusion")
MAX_NAMED = 8  # classes that an error lists
NEEDS_MAPS = ("filters", "deconvnet", "grad_cam")


def check_method(method: str, subject: Subject, choice: Choice) -> None:
    """Refuse a method that does not fit a model, or a layer or a unit that does not fit the method.

    Raises:
        UsageError: the message says what the method needs.
    """
    what = type(subject.model).__name__
    if subject.scores is None and (method in NEEDS_SCORES or (method == "maximization" and choice.layer is None)):
        raise UsageError(
            f"{method} needs a classifier, whose scores it asks for; {what} is none; try filters or activations"
        )
    if method in NEEDS_MAPS and not any(layer.is_convolution for layer in subject.layers):
        raise UsageError(
            f"{method} needs a network with convolutions, such as lenet5 or resnet20; {what} has none; "
            "try saliency, occlusion or maximization"
        )
    if method == "activations" and not subject.layers:
        raise UsageError(f"activations needs a network of layers that are modules; {what} computes without any")
    if method == "filters":
        select_convolutions(subject, choice)
    layer = select_layer(subject, choice) if method != "filters" else None
    if layer is None:
        return
    if method == "grad_cam" and not layer.has_maps:
        raise UsageError(
            f"--layer {layer.name} gives {list(layer.shape)}; grad_cam needs maps, [channels, height, width]: "
            f"{join_names(each.name for each in subject.layers if each.has_maps)}"
        )
    if method in ("deconvnet", "maximization") and choice.unit is not None and choice.unit >= layer.shape[0]:
        raise UsageError(
            f"--unit {choice.unit} was given; {layer.name} has {layer.shape[0]}; needed: 0 to {layer.shape[0] - 1}"
        )


def select_layer(subject: Subject, choice: Choice) -> Layer | None:
    """Return the chosen layer; None if none was chosen.

    Raises:
        UsageError: there is no layer of this name (the message lists all), or a unit was chosen without a layer.
    """
    if choice.unit is not None and choice.layer is None:
        raise UsageError(f"--unit {choice.unit} was given; needed: the layer that it is of; type --layer NAME too")
    if choice.layer is None:
        return None
    named = {layer.name: layer for layer in subject.layers}
    return named[_match_name(choice.layer, list(named), "layers")]


def select_convolutions(subject: Subject, choice: Choice) -> dict[str, nn.Conv2d | nn.ConvTranspose2d]:
    """Return the chosen convolution, or all of them in the order in which they are called, by name.

    Raises:
        UsageError: the chosen layer is not a convolution.
    """
    names = {layer.module: layer.name for layer in reversed(subject.layers) if layer.is_convolution}
    named = {name: module for module, name in reversed(names.items())}
    if choice.layer is not None:
        named = {choice.layer: named[_match_name(choice.layer, list(named), "convolutions")]}
    return named  # type: ignore[return-value]


def _match_name(name: str, names: list[str], kind: str) -> str:
    if name in names:
        return name
    near = find_closest(name, names)
    guess = f"did you mean {near}? " if near else ""
    raise UsageError(f"--layer {name} was given; {guess}the {kind} are {join_names(names, len(names))}")


def find_last_convolution(subject: Subject) -> Layer:
    """Return the last convolution whose maps are larger than one pixel; if there is none, the last convolution."""
    convolutions = [layer for layer in subject.layers if layer.is_convolution]
    wide = [layer for layer in convolutions if max(layer.shape[1:]) > 1]
    return (wide or convolutions)[-1]


def sample_evenly(layers: list[Layer], most: int) -> list[Layer]:
    """Return at most `most` of the layers, evenly spaced from the first to the last."""
    if len(layers) <= most:
        return layers
    return [layers[round(i * (len(layers) - 1) / (most - 1))] for i in range(most)]


def parse_class(
    name: str | None, subject_names: list[str] | None, classes: int | None, option: str = "--class "
) -> int | None:
    """Return the class of a name or a number; `option` is what was typed before it.

    Raises:
        UsageError: there is no such class.
    """
    if name is None:
        return None
    names = subject_names or []
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < (classes or 0):
        return int(name)
    near = find_closest(name, [known for known in names if not known.isdecimal()])  # 2 is not a typo for 12
    guess = f"did you mean {near}? " if near else ""
    numbers = f"0 to {(classes or len(names) or 1) - 1}"
    numbered = names == [str(i) for i in range(len(names))]
    known = numbers if numbered else f"{join_names(names, MAX_NAMED)} (or {numbers})"
    raise UsageError(f"{option}{name} was given; {guess}the classes are {known}")
