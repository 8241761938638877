"""The variational autoencoder of convolutions, and of transposed ones back.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114. Transposed
convolutions: M. Zeiler et al., "Deconvolutional Networks", CVPR 2010, https://doi.org/10.1109/CVPR.2010.5539957.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.autoencoders.vae_base import Variational
from dlx.models.layers import activation as named
from dlx.types import Count, Natural, NonNegative, Positive


class ConvVAE(Variational):
    """Each convolution (kernel 4, stride 2) halves height and width, each transposed one doubles them.

    Args:
        shape: (channels, height, width), at least 2 ** len(channels) pixels each way.
        latent: dimensions of a code.
        channels: of the convolutions, from the image on; the decoder takes them backwards.
        hidden: units of the dense layer between them and the code, on both sides; classes enter there.
        activation: any of torch.nn's by name.
        likelihood, std, beta, warm_up, conditional, classes: as in `Variational`.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: Sequence[int],
        latent: Count = 16,
        channels: Sequence[Count] = (32, 64),
        hidden: Count = 256,
        activation: str | None = "relu",
        likelihood: Literal["auto", "bernoulli", "gaussian"] = "auto",
        std: Positive | None = None,
        beta: NonNegative = 1.0,
        warm_up: Natural = 0,
        conditional: bool = False,
        classes: Count | None = None,
    ) -> None:
        super().__init__(shape, latent, likelihood, std, beta, warm_up, conditional, classes)
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
            down += [nn.Conv2d(a, b, 4, stride=2, padding=1), named(activation)]
            odd = [side - 2 * half for side, half in zip(sizes[i], sizes[i + 1], strict=True)]
            back = nn.ConvTranspose2d(b, a, 4, stride=2, padding=1, output_padding=tuple(odd))
            up = [back, *([named(activation)] if i else []), *up]
        inner = (steps[-1], *sizes[-1])
        features = math.prod(inner)
        self.encoder = _Encoder(nn.Sequential(*down), features + self.classes, hidden, 2 * latent, activation)
        self.decoder = nn.Sequential(
            nn.Linear(latent + self.classes, hidden),
            named(activation),
            nn.Linear(hidden, features),
            named(activation),
            nn.Unflatten(1, inner),
            *up,
            nn.Flatten(),
        )

    def last_bias(self) -> Tensor:
        return self.decoder[-2].bias  # type: ignore[index]


class _Encoder(nn.Module):
    """Convolutions, then two dense layers that see the classes beside the features."""

    def __init__(self, down: nn.Module, features: int, hidden: int, outputs: int, activation: str | None) -> None:
        super().__init__()
        self.down = down
        self.dense = nn.Sequential(nn.Linear(features, hidden), named(activation), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        h = self.down(x).flatten(1)
        return self.dense(h if classes is None else torch.cat([h, classes.to(h.dtype)], 1))
