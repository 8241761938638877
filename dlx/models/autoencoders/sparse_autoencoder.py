"""The sparse autoencoder: few units of its code are active at a time.

A. Ng, "Sparse autoencoder", lecture notes CS294A, Stanford 2011: the divergence of mean activities from a target. The
absolute values instead: M. Ranzato et al., "Sparse Feature Learning for Deep Belief Networks", NIPS 2007.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from dlx.errors import UsageError
from dlx.models.activations import Activation
from dlx.models.autoencoders.autoencoder import Autoencoder
from dlx.types import Count, Fraction, NonNegative


class SparseAutoencoder(Autoencoder):
    """Adds to the loss β Σ_j KL(ρ ‖ ρ̂_j), ρ̂_j the mean activity of a code unit over the batch, or β Σ_j |h_j|.

    Args:
        sparsity: `kl`, for logistic codes, or `l1`.
        target: ρ, of `kl`.
        weight: β.
        shape, hidden, activation, code_activation, output, tied, weights: as in `Autoencoder`.

    Raises:
        UsageError: `kl` for a code that is not logistic.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128,),
        sparsity: Literal["kl", "l1"] = "kl",
        target: Fraction = 0.05,
        weight: NonNegative = 1e-3,
        activation: Activation | None = "sigmoid",
        code_activation: Activation | Literal["same"] | None = "same",
        output: Literal["auto", "sigmoid", "linear"] = "auto",
        tied: bool = False,
        **weights: Any,
    ) -> None:
        super().__init__(shape, hidden, activation, code_activation, output, tied, **weights)
        if sparsity == "kl" and not isinstance(self.code_activation, torch.nn.Sigmoid):
            raise UsageError(
                f"model.sparsity=kl was given for a code with {type(self.code_activation).__name__}; needed: sigmoid, "
                "whose activities are probabilities; type model.sparsity=l1, or model.code_activation=sigmoid"
            )
        self.sparsity, self.target, self.weight = sparsity, target, weight
        self.code: Tensor | None = None  # of the batch that was encoded last

    def encode(self, x: Tensor) -> Tensor:
        code = super().encode(x)
        self.code = code if self.training else None
        return code

    def penalty(self) -> Tensor:
        """Return the penalty of the last batch's code, 0-d."""
        assert self.code is not None
        if self.sparsity == "l1":
            return self.weight * self.code.abs().sum(1).mean()
        q, p = self.code.mean(0).clamp(1e-6, 1 - 1e-6), torch.as_tensor(self.target).to(self.code)
        return self.weight * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
