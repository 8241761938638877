"""What of a model a method is applied to: the layer, the class, and whether the method can be applied at all."""

from typing import NamedTuple

from torch import nn

from dlx.config.report import find_closest, join_names
from dlx.errors import UsageError
from dlx.interpretability.layers import Layer
from dlx.interpretability.subject import Subject


class Choice(NamedTuple):
    """What the user asked for; None leaves it to the method."""

    layer: str | None = None
    label: int | None = None  # the class that is explained; None for the one predicted
    unit: int | None = None  # a map or a unit of the layer


NEEDS_SCORES = ("saliency", "grad_cam", "occlusion")
FEW = 8  # classes that are named where there is none of a name
NEEDS_MAPS = ("filters", "deconvnet", "grad_cam")


def check(method: str, subject: Subject, choice: Choice) -> None:
    """Refuse a method that does not suit a model, or a layer or a unit that does not suit the method.

    Raises:
        UsageError: says what the method needs.
    """
    what = type(subject.model).__name__
    if subject.scores is None and (method in NEEDS_SCORES or (method == "maximization" and choice.layer is None)):
        raise UsageError(
            f"{method} needs a classifier, whose scores it asks for; {what} is none; try filters or activations"
        )
    if method in NEEDS_MAPS and not any(layer.convolution for layer in subject.layers):
        raise UsageError(
            f"{method} needs a network with convolutions, such as lenet5 or resnet20; {what} has none; "
            "try saliency, occlusion or maximization"
        )
    if method == "activations" and not subject.layers:
        raise UsageError(f"activations needs a network of layers that are modules; {what} computes without any")
    if method == "filters":
        convolutions(subject, choice)
    layer = pick(subject, choice) if method != "filters" else None
    if layer is None:
        return
    if method == "grad_cam" and not layer.maps:
        raise UsageError(
            f"--layer {layer.name} gives {list(layer.shape)}; grad_cam needs maps, [channels, height, width]: "
            f"{join_names(each.name for each in subject.layers if each.maps)}"
        )
    if method in ("deconvnet", "maximization") and choice.unit is not None and choice.unit >= layer.shape[0]:
        raise UsageError(
            f"--unit {choice.unit} was given; {layer.name} has {layer.shape[0]}; needed: 0 to {layer.shape[0] - 1}"
        )


def pick(subject: Subject, choice: Choice) -> Layer | None:
    """The layer asked for, None if none was.

    Raises:
        UsageError: there is none of this name; the message lists all. Or a unit was asked for, and no layer.
    """
    if choice.unit is not None and choice.layer is None:
        raise UsageError(f"--unit {choice.unit} was given; needed: the layer that it is of; type --layer NAME too")
    if choice.layer is None:
        return None
    named = {layer.name: layer for layer in subject.layers}
    return named[_known(choice.layer, list(named), "layers")]


def convolutions(subject: Subject, choice: Choice) -> dict[str, nn.Conv2d | nn.ConvTranspose2d]:
    """The convolutions whose filters are asked for, in the order in which they are called.

    Raises:
        UsageError: the layer asked for is none.
    """
    found = {layer.module: layer.name for layer in reversed(subject.layers) if layer.convolution}
    named = {name: module for module, name in reversed(found.items())}
    if choice.layer is not None:
        named = {choice.layer: named[_known(choice.layer, list(named), "convolutions")]}
    return named  # type: ignore[return-value]


def _known(name: str, names: list[str], kind: str) -> str:
    if name in names:
        return name
    near = find_closest(name, names)
    guess = f"did you mean {near}? " if near else ""
    raise UsageError(f"--layer {name} was given; {guess}the {kind} are {join_names(names, len(names))}")


def last_convolution(subject: Subject) -> Layer:
    """The last one that gives more than one place, where there is such a one."""
    found = [layer for layer in subject.layers if layer.convolution]
    wide = [layer for layer in found if max(layer.shape[1:]) > 1]
    return (wide or found)[-1]


def spread(found: list[Layer], most: int) -> list[Layer]:
    """Of more than `most` layers so many, evenly from the first to the last."""
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def label(
    name: str | None, subject_names: list[str] | None, classes: int | None, option: str = "--class "
) -> int | None:
    """The class of a name or a number; `option` is what was typed before it.

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
    near = find_closest(name, [known for known in names if not known.isdecimal()])  # 2 is no slip of the pen for 12
    guess = f"did you mean {near}? " if near else ""
    numbers = f"0 to {(classes or len(names) or 1) - 1}"
    numbered = names == [str(i) for i in range(len(names))]
    known = numbers if numbered else f"{join_names(names, FEW)} (or {numbers})"
    raise UsageError(f"{option}{name} was given; {guess}the classes are {known}")
