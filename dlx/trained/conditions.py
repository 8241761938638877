"""What samples are to be like: `--clamp label=7` for a model that was told the classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.interpretability.choice import label as numbered
from dlx.models.interfaces import Conditional
from dlx.parts import Parts

ROW = 8  # samples of each class where no number was asked for


def labels(parts: Parts, clamps: Sequence[str], n: int | None) -> Tensor | None:
    """The label of each sample, (n,); None for a model that knows of no classes.

    Args:
        parts: a trained run's.
        clamps: `label=NAME` or `label=NUMBER`; without it all classes in turn, as evenly as n allows.
        n: how many; None takes 64 of one class, or 8 of each.

    Raises:
        UsageError: the model is not conditional, or there is no such class.
    """
    asked = dict(_divided(clamp) for clamp in clamps)
    if not (isinstance(parts.model, Conditional) and parts.model.conditional):
        if asked:
            has = next((name for name in ("conditional", "labelled") if name in parts.config.model), None)
            how = f"type dlx train … model.{has}=true" if has else "such as gan, vae or a labelled dbn; leave it out"
            raise UsageError(
                f"--clamp {clamps[0]} was given; {type(parts.model).__name__} was not trained with classes; needed: a "
                f"conditional model{', ' if not has else '; '}{how}"
            )
        return None
    classes = parts.dataset.classes
    assert classes is not None  # else the model could not have been made
    if "label" in asked:
        number = numbered(asked["label"], parts.dataset.names, classes, "--clamp label=")
        assert number is not None
        return torch.full((n or 64,), number)
    n = n or ROW * classes
    counts = torch.full((classes,), n // classes)
    counts[: n % classes] += 1
    return torch.arange(classes).repeat_interleave(counts)


def _divided(clamp: str) -> tuple[str, str]:
    name, equals, value = clamp.partition("=")
    if name != "label" or not equals:
        raise UsageError(f"--clamp {clamp} was given; needed: label=NAME or label=NUMBER")
    return name, value
