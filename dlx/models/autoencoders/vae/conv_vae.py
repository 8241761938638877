"""The variational autoencoder of convolutions and transposed convolutions.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114. Transposed
convolutions: M. Zeiler et al., "Deconvolutional Networks", CVPR 2010, https://doi.org/10.1109/CVPR.2010.5539957.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.models.activations import Activation, make_activation
from dlx.models.autoencoders.halving import make_halving_layers
from dlx.models.autoencoders.vae.base import Variational
from dlx.types import Count, Natural, NonNegative, Positive


class ConvVAE(Variational):
    """Each convolution (kernel 4, stride 2) halves height and width, each transposed one doubles them.

    Args:
        shape: (channels, height, width), at least 2 ** len(channels) pixels each way.
        latent: dimensions of a code.
        channels: of the convolutions, from the image on; the decoder takes them backwards.
        hidden: units of the dense layer between them and the code, on both sides; classes enter there.
        activation: any of torch.nn's by name.
        likelihood, std, beta, warm_up, conditional, classes, weights: as in `Variational`.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: Sequence[int],
        latent: Count = 16,
        channels: Sequence[Count] = (32, 64),
        hidden: Count = 256,
        activation: Activation | None = "relu",
        likelihood: Literal["auto", "bernoulli", "gaussian"] = "auto",
        std: Positive | None = None,
        beta: NonNegative = 1.0,
        warm_up: Natural = 0,
        conditional: bool = False,
        classes: Count | None = None,
        **weights: Any,
    ) -> None:
        super().__init__(shape, latent, likelihood, std, beta, warm_up, conditional, classes, **weights)
        down, up, inner = make_halving_layers(shape, channels, activation)
        features = math.prod(inner)
        self.encoder = _Encoder(nn.Sequential(*down), features + self.classes, hidden, 2 * latent, activation)
        self.decoder = nn.Sequential(
            nn.Linear(latent + self.classes, hidden),
            make_activation(activation),
            nn.Linear(hidden, features),
            make_activation(activation),
            nn.Unflatten(1, inner),
            *up,
            nn.Flatten(),
        )
        self.apply_weight_settings()

    def last_bias(self) -> Tensor:
        result: Tensor = self.decoder[-2].bias  # type: ignore[index]
        return result


class _Encoder(nn.Module):
    """Convolutions, then two dense layers that see the classes beside the features."""

    def __init__(
        self, down: nn.Module, features: int, hidden: int, outputs: int, activation: Activation | None
    ) -> None:
        super().__init__()
        self.down = down
        self.dense = nn.Sequential(nn.Linear(features, hidden), make_activation(activation), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        h = self.down(x).flatten(1)
        output: Tensor = self.dense(h if classes is None else torch.cat([h, classes.to(h.dtype)], 1))
        return output
