"""The denoising autoencoder: reconstruct clean examples from corrupted ones.

P. Vincent, H. Larochelle, Y. Bengio, P.-A. Manzagol, "Extracting and Composing Robust Features with Denoising
Autoencoders", ICML 2008, https://doi.org/10.1145/1390156.1390294.
"""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from dlx.models.activations import Activation
from dlx.models.autoencoders.autoencoder import Autoencoder
from dlx.models.autoencoders.noise import corrupt
from dlx.types import Count, NonNegative


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder whose input is corrupted in training; the loss compares with the clean example.

    Args:
        corruption: masking, gaussian or salt_and_pepper.
        level: probability that an element is corrupted; for Gaussian noise its standard deviation.
        shape, hidden, activation, code_activation, output, tied, weights: as in `Autoencoder`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128,),
        corruption: Literal["masking", "gaussian", "salt_and_pepper"] = "masking",
        level: NonNegative = 0.25,
        activation: Activation | None = "sigmoid",
        code_activation: Activation | Literal["same"] | None = "same",
        output: Literal["auto", "sigmoid", "linear"] = "auto",
        tied: bool = False,
        **weights: Any,
    ) -> None:
        super().__init__(shape, hidden, activation, code_activation, output, tied, **weights)
        self.corruption, self.level = corruption, level

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode x, (batch, *shape); in training mode, a corrupted x."""
        return super().reconstruct(corrupt(x, self.corruption, self.level) if self.training else x)
