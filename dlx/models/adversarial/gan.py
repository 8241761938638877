"""Generative adversarial networks of dense layers.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.models.adversarial.gan_base import OUTPUTS, GANBase
from dlx.models.mlp import MLP
from dlx.types import Count, Fraction


class GAN(GANBase):
    """The generator G maps noise z to an example, the discriminator D an example to the log-odds that it is real.

    Against the paper: leaky ReLU instead of maxout in the discriminator. The label of a conditional model stands
    one-hot beside the noise and beside the example, as in M. Mirza, S. Osindero 2014, https://arxiv.org/abs/1411.1784.

    Args:
        shape: of one example.
        latent: size of the noise.
        generator, discriminator: units of their hidden layers, or mappings as in `MLP`.
        activation, discriminator_activation: any of torch.nn's by name.
        batch_norm: normalise before each activation of the generator.
        dropout: part of the discriminator's hidden outputs that is dropped in training.
        kernel_init: of both, as in `MLP`.
        output: the generator's last activation; `auto` is sigmoid for images, with intensities in [0, 1], and linear
            for anything else. Images scaled to [-1, 1] (dataset.scale=symmetric) want tanh.
        prior: of the noise, standard normal or uniform in [-1, 1].
        average: decay of a moving average of the generator, from which samples are then drawn; 0 for none.
        conditional: both networks get the label.
        classes: number of the dataset's classes; None where it has none.
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
        conditional: bool = False,
        classes: Count | None = None,
    ) -> None:
        super().__init__(latent, prior, conditional, classes)
        if output == "auto":
            output = "sigmoid" if len(shape) == 3 else "linear"
        size = math.prod(shape)
        generator_network = nn.Sequential(
            MLP(
                [latent + self.label_size],
                size,
                hidden=generator,
                activation=activation,
                batch_norm=batch_norm,
                kernel_init=kernel_init,
            ),
            OUTPUTS[output](),
            nn.Unflatten(1, tuple(shape)),
        )
        discriminator_network = MLP(
            [size + self.label_size],
            1,
            hidden=discriminator,
            activation=discriminator_activation,
            dropout=dropout,
            kernel_init=kernel_init,
        )
        self.set_networks(generator_network, discriminator_network, average)

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the log-odds (batch,) that examples x (batch, *shape) are real, and of these labels."""
        if self.conditional:
            x = torch.cat([x.flatten(1), self.one_hot(labels, x)], 1)
        result: Tensor = self.discriminator(x).squeeze(1)
        return result
