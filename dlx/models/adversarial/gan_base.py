"""What all adversarial networks share: two players, noise, labels, and the moving average that samples come from.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661. Labels told to both
players: M. Mirza, S. Osindero, "Conditional Generative Adversarial Nets", 2014, https://arxiv.org/abs/1411.1784.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.adversarial.average import MovingAverage

OUTPUTS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Game(nn.Module):
    """A generator G from noise z to examples, and a discriminator D from examples to the log-odds that they are real.

    A class-conditional game tells both players the label: the generator gets it one-hot beside its noise, and each
    model says how its discriminator does. Subclasses call `play` with their two networks.

    Args:
        latent: size of the noise.
        prior: of the noise, standard normal or uniform in [-1, 1].
        conditional: both players are told the label.
        classes: number of the dataset's classes; None where it has none.

    Raises:
        UsageError: `conditional` without classes.
    """

    generator: nn.Module
    discriminator: nn.Module
    average: MovingAverage | None

    def __init__(
        self, latent: int, prior: Literal["normal", "uniform"], conditional: bool, classes: int | None
    ) -> None:
        super().__init__()
        if conditional and classes is None:
            raise UsageError(
                "model.conditional=true was given with a dataset that has no classes; needed: labelled data "
                "(dlx list datasets); type model.conditional=false"
            )
        self.latent_size, self.prior = latent, prior
        self.conditional, self.classes = conditional, classes
        self.codes = (classes or 0) if conditional else 0  # entries of a label beside noise or example

    def play(self, generator: nn.Module, discriminator: nn.Module, average: float) -> None:
        """Take the two networks; `average` is the decay of the generator's moving average, 0 for none."""
        self.generator, self.discriminator = generator, discriminator
        self.average = MovingAverage(generator, average) if average else None

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds (batch,) that examples x (batch, *shape) are real; where labels count, averaged over them."""
        return self.discriminate(x)

    def players(self) -> tuple[nn.Module, nn.Module]:
        """The generator and the discriminator."""
        return self.generator, self.discriminator

    def latent(self, n: int) -> Tensor:
        """Noise (n, latent) from the prior."""
        device = next(self.generator.parameters()).device
        if self.prior == "normal":
            return torch.randn(n, self.latent_size, device=device)
        return 2 * torch.rand(n, self.latent_size, device=device) - 1

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Examples (n, *shape) of noise z (n, latent) and, in a conditional game, labels (n,)."""
        return self.generator(self._told(z, labels))

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-odds (batch,) that examples x (batch, *shape) are real, and of these labels."""
        raise NotImplementedError

    def follow(self) -> None:
        """The moving average, if there is one, takes a step towards the generator."""
        if self.average is not None:
            self.average.follow(self.generator)

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Examples (n, *shape) of noise z (n, latent), from the averaged generator where there is one.

        Args:
            z: noise.
            labels: (n,) of a conditional game; None draws them evenly.
        """
        if self.conditional and labels is None:
            labels = torch.randint(self.codes, (len(z),), device=z.device)
        return (self.average or self.generator)(self._told(z, labels))

    def sample(self, n: int, labels: Tensor | None = None) -> Tensor:
        """Draw n examples, (n, *shape).

        Args:
            n: how many.
            labels: (n,) of a conditional game; None draws them evenly.

        Raises:
            UsageError: labels, and the game was learned without.
        """
        if labels is not None and not self.conditional:
            raise UsageError(
                f"labels were given to {type(self).__name__}, which learned without; needed: a run with "
                "model.conditional=true; leave the label out"
            )
        return self.decode(self.latent(n), labels)

    def between(self, start: Tensor, end: Tensor, part: Tensor) -> Tensor:
        """Noise on the way from `start` to `end`, each (n, latent), at `part` in [0, 1], (n, 1).

        Of a normal prior along the great circle, since the middle of a straight way has a norm that the prior hardly
        ever gives (T. White, "Sampling Generative Networks", 2016, https://arxiv.org/abs/1609.04468, §2.1).
        """
        if self.prior == "uniform":
            return torch.lerp(start, end, part)
        angle = nn.functional.cosine_similarity(start, end, dim=1).clamp(-0.9999, 0.9999).acos()[:, None]
        return (((1 - part) * angle).sin() * start + (part * angle).sin() * end) / angle.sin()

    def code(self, labels: Tensor | None, like: Tensor) -> Tensor:
        """Labels (n,) one-hot, (n, classes), in the type of `like`, (n, ...); even shares where there are none."""
        if labels is None:
            return like.new_full((len(like), self.codes), 1 / self.codes)
        return nn.functional.one_hot(labels.to(like.device), self.codes).to(like.dtype)

    def _told(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat([z, self.code(labels, z)], 1) if self.conditional else z
