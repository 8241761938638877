"""The base of all variational autoencoders: codes, bounds on the likelihood, samples, classes as a condition.

D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2014, https://arxiv.org/abs/1312.6114. The bound of several
samples: Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", 2016,
https://arxiv.org/abs/1509.00519. β: I. Higgins et al., "β-VAE", 2017, https://openreview.net/forum?id=Sy2fzU9gl; its
warm-up: S. Bowman et al., 2016, https://arxiv.org/abs/1511.06349. Classes: D. P. Kingma et al., "Semi-supervised
Learning with Deep Generative Models", 2014, https://arxiv.org/abs/1406.5298.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.autoencoders.vae.latent import Posterior
from dlx.models.autoencoders.vae.likelihood import Bernoulli, Gaussian
from dlx.models.weights import WeightedModel

# Elements that a decoder makes at once where many samples are asked for. On a CPU they should stay in its cache:
# a sample of MNIST takes 6.6 µs by 2^18 at once and 9.0 by 2^21.
MAX_DECODED_ELEMENTS = {"cpu": 2**18, "other": 2**26}


class Variational(WeightedModel):
    """p(z) = N(0, I), p(x | z) by the decoder, q(z | x) by the encoder; all given the class y where conditional.

    A subclass makes `encoder`, from (x, one-hot classes or None) to mean and log variance side by side, and `decoder`,
    from codes beside one-hot classes to outputs (…, D), and says which bias is the last one's.

    Args:
        shape: of one example.
        latent: dimensions of a code.
        likelihood: bernoulli, gaussian; auto is the first for images, else the second.
        std: of the Gaussian likelihood; null learns it.
        beta: weight of the divergence in what is minimised; 1 is the ELBO.
        warm_up: updates over which that weight rises from zero.
        conditional: encoder and decoder get the class as input.
        classes: how many there are.
        weights: initializers, penalties and constraints, as in `WeightedModel`, activities excepted.
    """

    has_activity: ClassVar[bool] = False
    accepts: ClassVar[tuple[str, ...]] = ("image", "vector")

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        likelihood: Literal["auto", "bernoulli", "gaussian"],
        std: float | None,
        beta: float,
        warm_up: int,
        conditional: bool,
        classes: int | None,
        **weights: Any,
    ) -> None:
        super().__init__(**weights)
        if conditional and classes is None:
            raise UsageError(
                "model.conditional=true was given for data without classes; needed: labels; "
                "type model.conditional=false"
            )
        self.shape, self.latent, self.conditional = tuple(shape), latent, conditional
        self.classes = classes if conditional and classes else 0
        kind = likelihood if likelihood != "auto" else "bernoulli" if len(self.shape) == 3 else "gaussian"
        self.kind: Literal["bernoulli", "gaussian"] = kind
        if kind == "bernoulli" and std is not None:
            raise UsageError(
                f"model.std={std} was given for model.likelihood=bernoulli; type model.likelihood=gaussian"
            )
        self.likelihood: Bernoulli | Gaussian = Bernoulli() if kind == "bernoulli" else Gaussian(std)
        self.full_beta = beta
        self.warm_up = WarmUp(warm_up) if warm_up else None

    encoder: nn.Module
    decoder: nn.Module

    def last_bias(self) -> Tensor:
        """Return the decoder's last bias, (D,) or (channels,)."""
        raise NotImplementedError

    # -- from examples to codes and back ---------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions (batch, *shape) of x (batch, *shape)."""
        return self.reconstruct(x)

    def posterior(self, x: Tensor, y: Tensor | None = None) -> Posterior:
        """Return q(z | x), or q(z | x, y) for labels y (batch,)."""
        mean, log_variance = _upcast(self.encoder(x, self._one_hot(y))).chunk(2, 1)
        return Posterior(mean, log_variance)

    def decoder_outputs(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the likelihood's parameters (batch, k, D) for codes z (batch, k, latent) and labels y (batch,)."""
        B, k, _ = z.shape
        classes = self._one_hot(y)
        if classes is not None:
            z = torch.cat([z, classes[:, None].expand(B, k, -1).to(z.dtype)], 2)
        return _upcast(self.decoder(z.flatten(0, 1))).view(B, k, -1)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the code's mean, (batch, latent); a conditional model without labels takes the likeliest."""
        return self.posterior(x, self._infer_labels(x, labels)).mean

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return E[x | z], (n, *shape), for codes z (n, latent)."""
        return self.likelihood.mean(self.decoder_outputs(z[:, None], labels)).view(-1, *self.shape)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return E[x | z] at the mean of the code, (batch, *shape); labels as for `encode`."""
        labels = self._infer_labels(x, labels)
        return self.decode(self.posterior(x, labels).mean, labels)

    # -- bounds ----------------------------------------------------------------------------------------------------

    def elbo_terms(
        self, x: Tensor, y: Tensor | None = None, k: int = 1, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) of k codes, (batch, k), and the exact KL of q from the prior, (batch, latent)."""
        q = self.posterior(x, y)
        z, _ = q.sample(k, generator)
        return self.likelihood.log_prob(x.flatten(1), self.decoder_outputs(z, y)), q.kl_divergence()

    def log_weights(
        self,
        x: Tensor,
        y: Tensor | None = None,
        k: int = 1,
        beta: Tensor | float = 1.0,
        generator: torch.Generator | None = None,
        q: Posterior | None = None,
    ) -> Tensor:
        """Return log p(x | z) + β (log p(z) - log q(z | x)), (batch, k), of k codes of each example.

        With β = 1 the mean of exp of them estimates p(x) without bias, and the log of it bounds log p(x) from below.
        """
        q = self.posterior(x, y) if q is None else q
        z, noise = q.sample(k, generator)
        return self.likelihood.log_prob(x.flatten(1), self.decoder_outputs(z, y)) + beta * q.log_ratio(z, noise)

    def beta(self) -> Tensor | float:
        """Return the divergence's weight at this step of the training."""
        return self.full_beta if self.warm_up is None else self.full_beta * self.warm_up.fraction()

    def max_codes(self, device: torch.device) -> int:
        """Return how many codes to decode at once, so that memory does not grow with the number of samples."""
        return max(1, MAX_DECODED_ELEMENTS.get(device.type, MAX_DECODED_ELEMENTS["other"]) // math.prod(self.shape))

    # -- classes ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """Return the likeliest label (batch,) of x, by the ELBO at the mean code and a uniform prior on classes."""
        scores = []
        for label in range(self.classes):
            y = torch.full((len(x),), label, device=x.device)
            q = self.posterior(x, y)
            log_likelihood = self.likelihood.log_prob(x.flatten(1), self.decoder_outputs(q.mean[:, None], y)).squeeze(1)
            scores.append(log_likelihood - q.kl_divergence().sum(1))
        return torch.stack(scores, 1).argmax(1)

    def _infer_labels(self, x: Tensor, labels: Tensor | None) -> Tensor | None:
        return self.classify(x) if self.conditional and labels is None else labels

    def _one_hot(self, y: Tensor | None) -> Tensor | None:
        if not self.conditional:
            return None
        if y is None or y.is_floating_point():
            raise UsageError(
                "model.conditional=true was given for examples without classes; needed: labels; "
                "type dataset=… with classes, or model.conditional=false"
            )
        return F.one_hot(y, self.classes).to(self.last_bias().dtype)

    # -- generation ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, labels: Tensor | None = None) -> Tensor:
        """Draw n examples, (n, *shape): of images E[x | z], without the pixels' noise, of anything else x itself.

        Args:
            n: how many.
            labels: (n,) of a conditional model; None draws them evenly.
        """
        bias = self.last_bias()
        z = torch.randn(n, self.latent, device=bias.device, dtype=bias.dtype)
        if self.conditional and labels is None:
            labels = torch.randint(self.classes, (n,), device=bias.device)
        labels = labels.to(bias.device) if self.conditional and labels is not None else None
        if len(self.shape) == 3:
            return self.decode(z, labels)
        return self.likelihood.sample(self.decoder_outputs(z[:, None], labels)).view(n, *self.shape)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Set the last bias by the mean of examples x (n, *shape), as Burda et al. do.

        Otherwise the first epoch is spent on finding it.

        Raises:
            UsageError: the likelihood does not fit them.
        """
        means = self.likelihood.initial_output(x.flatten(1))
        bias = self.last_bias()
        bias.copy_(means if len(bias) == len(means) else means.view(len(bias), -1).mean(1))


class WarmUp(nn.Module):
    """Counts the updates of a training, from 0 to 1 over the first of them; its count is saved with the weights."""

    def __init__(self, updates: int) -> None:
        super().__init__()
        self.updates = updates
        self.register_buffer("done", torch.zeros(()))
        self.done: Tensor

    def fraction(self) -> Tensor:
        """Return how much of the warm-up is over, 0-d, 0 to 1."""
        return (self.done / self.updates).clamp(max=1)

    @torch.no_grad()
    def constrain(self) -> None:
        """Count an update; backprop calls this after each step."""
        self.done += 1


def _upcast(values: Tensor) -> Tensor:
    """Convert half precision to float32, which sums over hundreds of elements need."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
