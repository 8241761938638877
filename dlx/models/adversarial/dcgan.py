"""DCGAN, generative adversarial networks of convolutions.

A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", 2015, https://arxiv.org/abs/1511.06434.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

from torch import Tensor, nn

from dlx.models.adversarial.gan_base import OUTPUTS, GANBase
from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Fraction, Positive

Norm = Literal["none", "batch", "layer"]
Sizes = list[tuple[int, int]]  # heights and widths of the maps


class DCGAN(GANBase):
    """Convolutions of 5×5 with stride 2 in the discriminator, and transposed ones in the generator, as its mirror.

    Maps have half the image's size (rounded up) with 128 channels, a quarter with 256, an eighth with 512 and so on,
    until a side is shorter than 8: 1024 channels of 4×4 for the paper's 64×64, 256 of 7×7 for 28×28. Batch
    normalization is everywhere but before the image on both sides; ReLU in the generator, leaky ReLU of slope 0.2 in
    the discriminator; weights begin as N(0, 0.02²).

    A conditional discriminator adds ⟨e_y, φ(x)⟩ to its score ⟨w, φ(x)⟩ + b, where φ(x) are the last maps and e_y is
    learned for each class: T. Miyato, M. Koyama, "cGANs with Projection Discriminator", 2018,
    https://arxiv.org/abs/1802.05637.

    Args:
        shape: of one image, (channels, height, width).
        latent: size of the noise.
        width: multiplies the channels of every layer.
        output: the generator's last activation; `auto` is sigmoid, for intensities in [0, 1]. The paper's tanh goes
            with images in [-1, 1] (dataset.scale=symmetric).
        prior: of the noise, standard normal or uniform in [-1, 1], which is the paper's.
        average: decay of a moving average of the generator, from which samples are then drawn; 0 for none.
        conditional: both networks get the label.
        classes: number of the dataset's classes; None where it has none.

    Raises:
        UsageError: not an image, or a smaller one than 8×8.
    """

    accepts = ("image",)
    min_size = 8

    def __init__(
        self,
        shape: Sequence[int],
        latent: Count = 100,
        width: Positive = 1.0,
        output: Literal["auto", "sigmoid", "tanh"] = "auto",
        prior: Literal["normal", "uniform"] = "normal",
        average: Fraction = 0.0,
        conditional: bool = False,
        classes: Count | None = None,
    ) -> None:
        super().__init__(latent, prior, conditional, classes)
        channels, height, across = check_image_shape(shape, self.min_size, "dcgan")
        sizes = halve_sizes(height, across)
        maps = [channels, *(scale_channels(128 * 2**depth, width) for depth in range(len(sizes) - 1))]
        generator = make_generator(latent + self.label_size, maps, sizes, "sigmoid" if output == "auto" else output)
        critic = Critic(maps, sizes, "batch", self.label_size)
        for network in (generator, critic):
            network.apply(init_weights)
        self.set_networks(generator, critic, average)

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the log-odds (batch,) that examples x (batch, *shape) are real, and of these labels."""
        result: Tensor = self.discriminator(x, self.one_hot(labels, x) if self.conditional else None)
        return result


def halve_sizes(height: int, width: int) -> Sizes:
    """Return the sizes of the maps: the image's own, then half of the one before, until a side is shorter than 8."""
    sizes = [(height, width)]
    while min(sizes[-1]) >= 8:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def make_generator(latent: int, maps: Sequence[int], sizes: Sizes, output: str) -> nn.Sequential:
    """Make a network from noise (batch, latent) to images: a dense layer, then transposed convolutions.

    Args:
        latent: size of what comes in.
        maps: channels, of the image first.
        sizes: of the maps, as `halve_sizes` gives them.
        output: the last activation.
    """
    top, size = maps[-1], sizes[-1]
    network = nn.Sequential(
        nn.Linear(latent, top * math.prod(size), bias=False),
        nn.Unflatten(1, (top, *size)),
        nn.BatchNorm2d(top),
        nn.ReLU(),
    )
    for place in range(len(sizes) - 1, 0, -1):
        last = place == 1
        # A map of n gets 2n - 1, and one more where the larger one is even.
        more = [large - (2 * small - 1) for small, large in zip(sizes[place], sizes[place - 1], strict=True)]
        network.append(
            nn.ConvTranspose2d(maps[place], maps[place - 1], 5, 2, 2, output_padding=(more[0], more[1]), bias=last)
        )
        network.extend([OUTPUTS[output]()] if last else [nn.BatchNorm2d(maps[place - 1]), nn.ReLU()])
    return network


class Critic(nn.Module):
    """Score ⟨w, φ(x)⟩ + b, and ⟨e_y, φ(x)⟩ more where there are classes; φ are convolutions with stride 2.

    Args:
        maps: channels, of the image first.
        sizes: of the maps, as `halve_sizes` gives them.
        norm: before each activation but the first.
        classes: 0 for a score without labels.
    """

    def __init__(self, maps: Sequence[int], sizes: Sizes, norm: Norm, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for place, (inputs, outputs) in enumerate(pairwise(maps)):
            normalised = norm if place else "none"
            self.features.append(nn.Conv2d(inputs, outputs, 5, 2, 2, bias=normalised == "none"))
            if normalised == "batch":
                self.features.append(nn.BatchNorm2d(outputs))
            elif normalised == "layer":
                self.features.append(nn.GroupNorm(1, outputs))
            self.features.append(nn.LeakyReLU(0.2))
        size = maps[-1] * math.prod(sizes[-1])
        self.score = nn.Linear(size, 1)
        self.embed = nn.Linear(classes, size, bias=False) if classes else None

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Return scores (batch,) of x (batch, *shape) with one-hot labels (batch, classes)."""
        features = self.features(x).flatten(1)
        score = self.score(features).squeeze(1)
        if self.embed is not None and code is not None:
            score = score + (self.embed(code) * features).sum(1)
        return cast(Tensor, score)


def init_weights(module: nn.Module) -> None:
    """Draw the paper's initial weights: N(0, 0.02²), and N(1, 0.02²) for the scales of batch normalization."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
