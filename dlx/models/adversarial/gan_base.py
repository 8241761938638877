"""The base of all adversarial networks: two networks, noise, labels, and the moving average that samples come from.

I. Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661. Labels given to both
networks: M. Mirza, S. Osindero, "Conditional Generative Adversarial Nets", 2014, https://arxiv.org/abs/1411.1784.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.adversarial.average import MovingAverage

OUTPUTS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class GANBase(nn.Module):
    """A generator G from noise z to examples, and a discriminator D from examples to the log-odds that they are real.

    A class-conditional model gives both networks the label: the generator gets it one-hot beside its noise; how the
    discriminator gets it is up to each subclass. Subclasses call `set_networks` with their two networks.

    Args:
        latent: size of the noise.
        prior: of the noise, standard normal or uniform in [-1, 1].
        conditional: both networks get the label.
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
        self.label_size = (classes or 0) if conditional else 0  # entries of a label beside noise or example

    def set_networks(self, generator: nn.Module, discriminator: nn.Module, average: float) -> None:
        """Register the two networks; `average` is the decay of the generator's moving average, 0 for none."""
        self.generator, self.discriminator = generator, discriminator
        self.average = MovingAverage(generator, average) if average else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-odds (batch,) that x (batch, *shape) are real; if conditional, averaged over labels."""
        return self.discriminate(x)

    def players(self) -> tuple[nn.Module, nn.Module]:
        """Return the generator and the discriminator."""
        return self.generator, self.discriminator

    def latent(self, n: int) -> Tensor:
        """Draw noise (n, latent) from the prior."""
        device = next(self.generator.parameters()).device
        if self.prior == "normal":
            return torch.randn(n, self.latent_size, device=device)
        return 2 * torch.rand(n, self.latent_size, device=device) - 1

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return examples (n, *shape) for noise z (n, latent) and, if conditional, labels (n,)."""
        result: Tensor = self.generator(self._add_labels(z, labels))
        return result

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the log-odds (batch,) that examples x (batch, *shape) are real, and of these labels."""
        raise NotImplementedError

    def follow(self) -> None:
        """Move the moving average, if there is one, a step towards the generator."""
        if self.average is not None:
            self.average.follow(self.generator)

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return examples (n, *shape) for noise z (n, latent), from the averaged generator where there is one.

        Args:
            z: noise.
            labels: (n,) of a conditional model; None draws them evenly.
        """
        if self.conditional and labels is None:
            labels = torch.randint(self.label_size, (len(z),), device=z.device)
        result: Tensor = (self.average or self.generator)(self._add_labels(z, labels))
        return result

    def sample(self, n: int, labels: Tensor | None = None) -> Tensor:
        """Draw n examples, (n, *shape).

        Args:
            n: how many.
            labels: (n,) of a conditional model; None draws them evenly.

        Raises:
            UsageError: labels for an unconditional model.
        """
        if labels is not None and not self.conditional:
            raise UsageError(
                f"labels were given to {type(self).__name__}, which learned without; needed: a run with "
                "model.conditional=true; leave the label out"
            )
        return self.decode(self.latent(n), labels)

    def between(self, start: Tensor, end: Tensor, part: Tensor) -> Tensor:
        """Interpolate noise from `start` to `end`, each (n, latent), at `part` in [0, 1], (n, 1).

        Of a normal prior along the great circle, since the middle of a straight way has a norm that the prior hardly
        ever gives (T. White, "Sampling Generative Networks", 2016, https://arxiv.org/abs/1609.04468, §2.1).
        """
        if self.prior == "uniform":
            return torch.lerp(start, end, part)
        angle = nn.functional.cosine_similarity(start, end, dim=1).clamp(-0.9999, 0.9999).acos()[:, None]
        return (((1 - part) * angle).sin() * start + (part * angle).sin() * end) / angle.sin()

    def one_hot(self, labels: Tensor | None, like: Tensor) -> Tensor:
        """Encode labels (n,) one-hot, (n, classes), in the type of `like`, (n, ...); 1 / classes without labels."""
        if labels is None:
            return like.new_full((len(like), self.label_size), 1 / self.label_size)
        return nn.functional.one_hot(labels.to(like.device), self.label_size).to(like.dtype)

    def _add_labels(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat([z, self.one_hot(labels, z)], 1) if self.conditional else z
