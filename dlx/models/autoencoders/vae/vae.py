"""The variational autoencoder of dense layers.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.models.activations import Activation
from dlx.models.autoencoders.vae.base import Variational
from dlx.models.mlp import MLP
from dlx.types import Count, Natural, NonNegative, Positive


class VAE(Variational):
    """Maximises E_q[log p(x | z)] - β KL(q(z | x) || p(z)) ≤ log p(x), for β = 1 (Kingma and Welling, eq. 3).

    Without hidden layers and with a Gaussian likelihood it is probabilistic PCA, and the bound can be tight.

    Args:
        shape: of one example.
        latent: dimensions of a code; two can be drawn as a map.
        hidden: units of the encoder's hidden layers, or mappings as in `MLP`.
        decoder: those of the decoder; null takes the encoder's backwards.
        activation: any of torch.nn's by name.
        likelihood, std, beta, warm_up, conditional, classes, weights: as in `Variational`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: Count = 16,
        hidden: Sequence[Any] = (200, 200),
        decoder: Sequence[Any] | None = None,
        activation: Activation | None = "tanh",
        likelihood: Literal["auto", "bernoulli", "gaussian"] = "auto",
        std: Positive | None = None,
        beta: NonNegative = 1.0,
        warm_up: Natural = 0,
        conditional: bool = False,
        classes: Count | None = None,
        **weights: Any,
    ) -> None:
        super().__init__(shape, latent, likelihood, std, beta, warm_up, conditional, classes, **weights)
        size = math.prod(shape)
        back = list(hidden)[::-1] if decoder is None else decoder
        self.encoder = _Encoder(MLP([size + self.classes], 2 * latent, hidden=hidden, activation=activation))
        self.decoder = MLP([latent + self.classes], size, hidden=back, activation=activation)
        self.apply_weight_settings()

    def last_bias(self) -> Tensor:
        result: Tensor = self.decoder.layers[-1].bias  # type: ignore[union-attr, index]
        return result


class _Encoder(nn.Module):
    """A network that sees the classes beside the elements."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        x = x.flatten(1)
        output: Tensor = self.network(x if classes is None else torch.cat([x, classes.to(x.dtype)], 1))
        return output
