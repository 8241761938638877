"""Convolutions that halve an image, and transposed ones that double it again."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from dlx.errors import UsageError
from dlx.models.activations import Activation, make_activation


def make_halving_layers(
    shape: Sequence[int], channels: Sequence[int], activation: Activation | None
) -> tuple[list[nn.Module], list[nn.Module], tuple[int, int, int]]:
    """Return the layers down, those up, and the shape (channels, height, width) between them.

    Args:
        shape: (channels, height, width) of the image.
        channels: of the convolutions (kernel 4, stride 2), from the image on.
        activation: after each but the last transposed one.

    Raises:
        UsageError: the image is too small to be halved so often.
    """
    C, *sides = shape
    if min(sides) < 2 ** len(channels):
        raise UsageError(
            f"images of {sides[1]}×{sides[0]} were given for model.channels={list(channels)}; needed: at least "
            f"{2 ** len(channels)} pixels each way; type fewer model.channels=[…], or a dataset of larger images"
        )
    steps = [C, *channels]
    sizes = [[side // 2**i for side in sides] for i in range(len(steps))]  # height and width after i steps
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(steps)):
        down += [nn.Conv2d(a, b, 4, stride=2, padding=1), make_activation(activation)]
        odd = [side - 2 * half for side, half in zip(sizes[i], sizes[i + 1], strict=True)]
        back = nn.ConvTranspose2d(b, a, 4, stride=2, padding=1, output_padding=tuple(odd))
        up = [back, *([make_activation(activation)] if i else []), *up]
    return down, up, (steps[-1], sizes[-1][0], sizes[-1][1])
