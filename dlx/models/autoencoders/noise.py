"""Corruption of a denoising autoencoder's input.

P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio, P.-A. Manzagol, "Stacked Denoising Autoencoders", JMLR 11, 2010,
https://jmlr.org/papers/v11/vincent10a.html, §3.3.
"""

from typing import Literal

import torch
from torch import Tensor

Corruption = Literal["masking", "gaussian", "salt_and_pepper"]


def corrupt(x: Tensor, how: Corruption, level: float) -> Tensor:
    """Return x with noise, of its own shape.

    Args:
        x: (batch, ...).
        how: `masking` sets elements to 0, `salt_and_pepper` to 0 or 1 by a coin, each with the probability `level`;
            `gaussian` adds noise with this standard deviation.
        level: see above.
    """
    if how == "gaussian":
        return x + level * torch.randn_like(x)
    mask = torch.rand_like(x) < level
    if how == "masking":
        return x.masked_fill(mask, 0.0)
    return torch.where(mask, torch.rand_like(x).round(), x)
