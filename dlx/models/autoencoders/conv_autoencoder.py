"""The autoencoder of convolutions and transposed convolutions.

J. Masci, U. Meier, D. Cireşan, J. Schmidhuber, "Stacked Convolutional Auto-Encoders for Hierarchical Feature
Extraction", ICANN 2011, https://doi.org/10.1007/978-3-642-21735-7_7.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from dlx.models.activations import Activation, make_activation
from dlx.models.autoencoders.halving import make_halving_layers
from dlx.models.weights import WeightedModel
from dlx.types import Count


class ConvAutoencoder(WeightedModel):
    """Each convolution (kernel 4, stride 2) halves height and width, each transposed one doubles them.

    Args:
        shape: (channels, height, width), at least 2 ** len(channels) pixels each way.
        code: units of the code.
        channels: of the convolutions, from the image on; the decoder takes them in reverse.
        activation: any of torch.nn's by name.
        output: `sigmoid` for data in [0, 1], or `linear`.
        weights: initializers, penalties and constraints, as in `WeightedModel`; the activity is the code's.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        shape: Sequence[int],
        code: Count = 16,
        channels: Sequence[Count] = (16, 32),
        activation: Activation | None = "relu",
        output: Literal["sigmoid", "linear"] = "sigmoid",
        **weights: Any,
    ) -> None:
        super().__init__(**weights)
        self.shape = tuple(shape)
        down, up, inner = make_halving_layers(shape, channels, activation)
        features = math.prod(inner)
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, code))
        self.decoder = nn.Sequential(
            nn.Linear(code, features),
            make_activation(activation),
            nn.Unflatten(1, inner),
            *up,
            nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
        )
        self.apply_weight_settings()

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions (batch, *shape) of x (batch, *shape)."""
        return self.reconstruct(x)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes (batch, code) of x (batch, *shape)."""
        code: Tensor = self.encoder(x)
        self.penalize_activity(code)
        return code

    def decode(self, h: Tensor) -> Tensor:
        """Return examples (batch, *shape) for codes (batch, code)."""
        x: Tensor = self.decoder(h)
        return x

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode x, (batch, *shape)."""
        return self.decode(self.encode(x))
