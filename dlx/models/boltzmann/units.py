"""Units of a Boltzmann machine: what their input makes of them.

M. Welling, M. Rosen-Zvi, G. Hinton, "Exponential Family Harmoniums with an Application to Information Retrieval",
NIPS 2004. Gaussian units have unit variance, as in G. E. Hinton, R. R. Salakhutdinov, Science 313, 2006,
https://doi.org/10.1126/science.1127647: data for them is standardised.
"""

import math
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["binary", "gaussian"]


class Units(Protocol):
    """One kind of unit s, with the energy own(s) - input·s."""

    def self_energy(self, s: Tensor) -> Tensor:
        """Return own(s) summed over the last dimension, (batch,), for s (batch, units)."""

    def log_sum(self, inputs: Tensor) -> Tensor:
        """Return log Σ_s exp(input·s - own(s)), elementwise, but for `constant`."""

    def mean(self, inputs: Tensor) -> Tensor:
        """Return E[s], elementwise."""

    def draw(self, inputs: Tensor) -> Tensor:
        """Return a state of each unit."""

    constant: float  # of log_sum, for each unit


class Binary:
    """s in {0, 1}; own(s) = 0."""

    constant = 0.0

    def self_energy(self, s: Tensor) -> Tensor:
        return s.new_zeros(len(s))

    def log_sum(self, inputs: Tensor) -> Tensor:
        return softplus(inputs)

    def mean(self, inputs: Tensor) -> Tensor:
        return inputs.sigmoid()

    def draw(self, inputs: Tensor) -> Tensor:
        return draw_bernoulli(inputs.sigmoid())


class Gaussian:
    """s real; own(s) = s²/2, so that s has unit variance around its input."""

    constant = math.log(2 * math.pi) / 2

    def self_energy(self, s: Tensor) -> Tensor:
        return s.square().sum(1) / 2

    def log_sum(self, inputs: Tensor) -> Tensor:
        return inputs.square() / 2

    def mean(self, inputs: Tensor) -> Tensor:
        return inputs

    def draw(self, inputs: Tensor) -> Tensor:
        return inputs + torch.randn_like(inputs)


class BinaryWithLabel:
    """Binary units, and behind them one of `classes` that is on (Hinton, Osindero, Teh 2006, §6).

    Args:
        classes: units of the last group.
    """

    constant = 0.0

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def self_energy(self, s: Tensor) -> Tensor:
        return s.new_zeros(len(s))

    def log_sum(self, inputs: Tensor) -> Tensor:
        """Return one value for each binary unit, and one for the group, (..., units - classes + 1)."""
        group = inputs[..., -self.classes :].logsumexp(-1, keepdim=True)
        return torch.cat([softplus(inputs[..., : -self.classes]), group], -1)

    def mean(self, inputs: Tensor) -> Tensor:
        group = inputs[..., -self.classes :].softmax(-1)
        return torch.cat([inputs[..., : -self.classes].sigmoid(), group], -1)

    def draw(self, inputs: Tensor) -> Tensor:
        # The largest of logits plus Gumbel noise is a draw from their softmax.
        group = inputs[..., -self.classes :]
        noise = -torch.empty_like(group).exponential_().log()
        chosen = F.one_hot((group + noise).argmax(-1), self.classes).to(inputs.dtype)
        return torch.cat([draw_bernoulli(inputs[..., : -self.classes].sigmoid()), chosen], -1)


UNITS: dict[str, Units] = {"binary": Binary(), "gaussian": Gaussian()}


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp x), elementwise, as max(x, 0) - log σ(|x|), which a processor does in a fifth of
    `F.softplus`'s time.

    Its error is as small as that one's, but not in proportion to a result near 0. With a gradient, or on a GPU, it is
    torch's own.
    """
    if x.requires_grad or x.device.type != "cpu":
        return F.softplus(x)
    return x.relu().sub_(x.abs().sigmoid_().log_())


def draw_bernoulli(p: Tensor) -> Tensor:
    """Return the binary units, each 1 with its probability p; a quarter of `torch.bernoulli`'s time on a processor."""
    wide = torch.promote_types(p.dtype, torch.float32)  # random numbers of few bits would never meet a small p
    return torch.rand_like(p, dtype=wide).lt_(p).to(p.dtype)
