"""Generative adversarial networks of dense layers.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.models.adversarial.average import MovingAverage
from dlx.models.mlp import MLP
from dlx.types import Count, Fraction

OUTPUTS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class GAN(nn.Module):
    """The generator G maps noise z to an example, the discriminator D an example to the log-odds that it is real.

    Against the paper: leaky ReLU instead of maxout in the discriminator.

    Args:
        shape: of one example.
        latent: size of the noise.
        generator, discriminator: units of their hidden layers, or mappings as in `MLP`.
        activation, discriminator_activation: any of torch.nn's by name.
        batch_norm: normalise before each activation of the generator.
        dropout: part of the discriminator's hidden outputs that is dropped while learning.
        kernel_init: of both, as in `MLP`.
        output: the generator's last activation; `auto` is sigmoid for images, with intensities in [0, 1], and linear
            for anything else. Images scaled to [-1, 1] (dataset.scale=symmetric) want tanh.
        prior: of the noise, standard normal or uniform in [-1, 1].
        average: decay of a moving average of the generator, from which samples are then drawn; 0 for none.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: Count = 64,
        generator: Sequence[Any] = (256, 256),
        discriminator: Sequence[Any] = (256, 256),
        activation: str | None = "relu",
        discriminator_activation: str | None = "leaky_relu",
        batch_norm: bool = False,
        dropout: Fraction = 0.0,
        kernel_init: str | float = "default",
        output: Literal["auto", "linear", "sigmoid", "tanh"] = "auto",
        prior: Literal["normal", "uniform"] = "normal",
        average: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.latent_size, self.prior = latent, prior
        if output == "auto":
            output = "sigmoid" if len(shape) == 3 else "linear"
        self.generator = nn.Sequential(
            MLP(
                [latent],
                math.prod(shape),
                hidden=generator,
                activation=activation,
                batch_norm=batch_norm,
                kernel_init=kernel_init,
            ),
            OUTPUTS[output](),
            nn.Unflatten(1, tuple(shape)),
        )
        self.discriminator = MLP(
            shape,
            1,
            hidden=discriminator,
            activation=discriminator_activation,
            dropout=dropout,
            kernel_init=kernel_init,
        )
        self.average = MovingAverage(self.generator, average) if average else None

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds (batch,) that examples x (batch, *shape) are real."""
        return self.discriminate(x)

    def players(self) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator."""
        return self.generator, self.discriminator

    def latent(self, n: int) -> Tensor:
        """Noise (n, latent) from the prior."""
        device = next(self.parameters()).device
        if self.prior == "normal":
            return torch.randn(n, self.latent_size, device=device)
        return 2 * torch.rand(n, self.latent_size, device=device) - 1

    def generate(self, z: Tensor) -> Tensor:
        """Examples (n, *shape) of noise z (n, latent)."""
        return self.generator(z)

    def discriminate(self, x: Tensor) -> Tensor:
        """Log-odds (batch,) that examples x (batch, *shape) are real."""
        return self.discriminator(x).squeeze(1)

    def follow(self) -> None:
        """The moving average, if there is one, takes a step towards the generator."""
        if self.average is not None:
            self.average.follow(self.generator)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Draw n examples, (n, *shape), from the averaged generator where there is one."""
        generator = self.generator if self.average is None else self.average
        return generator(self.latent(n))
