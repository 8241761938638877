"""The autoencoder: reconstruct examples from a code.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", Nature 323, 1986,
https://doi.org/10.1038/323533a0. With linear units and a squared error its code spans the principal components:
P. Baldi, K. Hornik, Neural Networks 2, 1989, https://doi.org/10.1016/0893-6080(89)90014-2.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.models.activations import Activation, make_activation
from dlx.models.weights import WeightedModel
from dlx.types import Count


class Autoencoder(WeightedModel):
    """Dense layers to a code, and as many back: h = f(W x + b), x̂ = g(V h + c) for each.

    Args:
        shape: of one example.
        hidden: units of each layer of the encoder; the last one is the code.
        activation: of the hidden layers, any of torch.nn's by name.
        code_activation: of the code; `same` as the others, or null for a linear one.
        output: `sigmoid` for data in [0, 1], or `linear`; `auto` is the first for images.
        tied: the decoder uses the transposed weights of the encoder.
        weights: initializers, penalties and constraints, as in `WeightedModel`; the activity is the code's.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image", "vector")

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (32,),
        activation: Activation | None = "sigmoid",
        code_activation: Activation | Literal["same"] | None = "same",
        output: Literal["auto", "sigmoid", "linear"] = "auto",
        tied: bool = False,
        **weights: Any,
    ) -> None:
        super().__init__(**weights)
        self.shape, self.tied = tuple(shape), tied
        sizes = [math.prod(shape), *hidden]
        self.encoder = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        if tied:
            self.biases = nn.ParameterList(torch.zeros(n) for n in sizes[:-1])
        else:
            self.decoder = nn.ModuleList(nn.Linear(m, n) for n, m in pairwise(sizes))
        self.activation = make_activation(activation)
        self.code_activation = make_activation(activation if code_activation == "same" else code_activation)
        self.sigmoid = output == "sigmoid" or (output == "auto" and len(self.shape) == 3)
        self.apply_weight_settings()

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions (batch, *shape) of x (batch, *shape)."""
        return self.reconstruct(x)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes (batch, code) of x (batch, *shape)."""
        h = x.flatten(1)
        for i in range(len(self.encoder)):
            h = self.encode_layer(i, h)
        self.penalize_activity(h)
        return h

    def encode_layer(self, index: int, h: Tensor) -> Tensor:
        """Apply the encoder's layer `index` to h (batch, units)."""
        f = self.code_activation if index + 1 == len(self.encoder) else self.activation
        out: Tensor = f(self.encoder[index](h))
        return out

    def decode(self, h: Tensor) -> Tensor:
        """Return examples (batch, *shape) for codes (batch, code)."""
        for i in reversed(range(len(self.encoder))):
            h = self.decode_layer(i, h)
            h = self.activation(h) if i else h.sigmoid() if self.sigmoid else h
        return h.view(-1, *self.shape)

    def decode_layer(self, index: int, h: Tensor) -> Tensor:
        """Apply the decoder's layer `index`, without its activation, to h (batch, units): inputs of the layer below."""
        if self.tied:
            return F.linear(h, cast(nn.Linear, self.encoder[index]).weight.T, self.biases[index])
        out: Tensor = self.decoder[index](h)
        return out

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode x, (batch, *shape)."""
        return self.decode(self.encode(x))

    def pictures(self) -> dict[str, Tensor]:
        """Return the weights of each unit of the first hidden layer as images, where examples are images."""
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            return {}
        from dlx.figures.figures import plot_filters

        return {"filters": plot_filters(cast(nn.Linear, self.encoder[0]).weight.detach().cpu(), self.shape)}
