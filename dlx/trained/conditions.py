"""The classes that samples are conditioned on: `--clamp label=7` for a conditional model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.interpretability.choice import parse_class as numbered
from dlx.models.interfaces import Conditional
from dlx.parts import Parts

SAMPLES_PER_CLASS = 8  # where no number is given


def make_labels(parts: Parts, clamps: Sequence[str], n: int | None) -> Tensor | None:
    """Return the label of each sample, (n,); None for an unconditional model.

    Args:
        parts: a trained run's.
        clamps: `label=NAME` or `label=NUMBER`; without one, all classes in order, as evenly as n allows.
        n: how many; None takes 64 of one class, or 8 of each.

    Raises:
        UsageError: the model is not conditional, or there is no such class.
    """
    asked = dict(_parse_clamp(clamp) for clamp in clamps)
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
    n = n or SAMPLES_PER_CLASS * classes
    counts = torch.full((classes,), n // classes)
    counts[: n % classes] += 1
    return torch.arange(classes).repeat_interleave(counts)


def _parse_clamp(clamp: str) -> tuple[str, str]:
    name, equals, value = clamp.partition("=")
    if name != "label" or not equals:
        raise UsageError(f"--clamp {clamp} was given; needed: label=NAME or label=NUMBER")
    return name, value
