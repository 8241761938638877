"""WGAN-GP, a generator and a critic of the Wasserstein distance.

I. Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, https://arxiv.org/abs/1704.00028.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from dlx.models.adversarial.dcgan import Critic, halve_sizes, make_generator
from dlx.models.adversarial.gan_base import GANBase
from dlx.models.convolutional.image import check_image_shape, scale_channels
from dlx.types import Count, Fraction, Positive


class WGANGP(GANBase):
    """The networks of `DCGAN` with half its channels, as the paper's for MNIST, and no batch norm in the critic.

    The penalty ‖∇D(x̂)‖ → 1 is one for each example, which batch normalization in the critic would tie to the others
    of its batch (§4); layer normalization ties nothing. The generator keeps its batch norm. What makes it a WGAN-GP
    is the procedure: `procedure=wasserstein` has the loss, five steps of the critic for each of the generator's, and
    the penalty. The same game with dense layers, for data that are no images, is `model=gan procedure=wasserstein`.

    Args:
        shape: of one image, (channels, height, width).
        latent: size of the noise.
        width: multiplies the channels of every layer.
        norm: of the critic.
        output: the generator's last activation; `auto` is sigmoid, for intensities in [0, 1]. Images scaled to [-1, 1]
            (dataset.scale=symmetric) want tanh.
        prior: of the noise, standard normal or uniform in [-1, 1].
        average: decay of a moving average of the generator, from which samples are then drawn; 0 for none.
        conditional: both networks get the label, the critic as in `DCGAN`.
        classes: number of the dataset's classes; None where it has none.

    Raises:
        UsageError: not an image, or a smaller one than 8×8.
    """

    accepts = ("image",)
    min_size = 8

    def __init__(
        self,
        shape: Sequence[int],
        latent: Count = 128,
        width: Positive = 1.0,
        norm: Literal["none", "layer"] = "none",
        output: Literal["auto", "sigmoid", "tanh"] = "auto",
        prior: Literal["normal", "uniform"] = "normal",
        average: Fraction = 0.0,
        conditional: bool = False,
        classes: Count | None = None,
    ) -> None:
        super().__init__(latent, prior, conditional, classes)
        channels, height, across = check_image_shape(shape, self.min_size, "wgan_gp")
        sizes = halve_sizes(height, across)
        maps = [channels, *(scale_channels(64 * 2**depth, width) for depth in range(len(sizes) - 1))]
        generator = make_generator(latent + self.label_size, maps, sizes, "sigmoid" if output == "auto" else output)
        self.set_networks(generator, Critic(maps, sizes, norm, self.label_size), average)

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the critic's values (batch,) of examples x (batch, *shape) with these labels."""
        result: Tensor = self.discriminator(x, self.one_hot(labels, x) if self.conditional else None)
        return result
