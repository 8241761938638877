"""The contractive autoencoder: its code changes little where the data do.

S. Rifai, P. Vincent, X. Muller, X. Glorot, Y. Bengio, "Contractive Auto-Encoders", ICML 2011,
https://icml.cc/2011/papers/455_icmlpaper.pdf.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from dlx.errors import UsageError
from dlx.models.activations import Activation
from dlx.models.autoencoders.autoencoder import Autoencoder
from dlx.types import Count, NonNegative


class ContractiveAutoencoder(Autoencoder):
    """Adds λ ‖∂h/∂x‖² to the loss, the squared Frobenius norm of the code's Jacobian, the mean over the batch.

    With one layer, h = f(a) and a = W x + b, it is Σ_j f'(a_j)² Σ_i W_ji² (in the paper for the logistic f).

    Args:
        weight: λ.
        shape, hidden, activation, output, tied, weights: as in `Autoencoder`; `hidden` has one layer.

    Raises:
        UsageError: more than one hidden layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128,),
        weight: NonNegative = 1e-3,
        activation: Activation | None = "sigmoid",
        output: Literal["auto", "sigmoid", "linear"] = "auto",
        tied: bool = True,
        **weights: Any,
    ) -> None:
        if len(hidden) != 1:
            raise UsageError(
                f"model.hidden={list(hidden)} was given; needed: one layer, whose Jacobian is known in closed form; "
                f"type model.hidden=[{hidden[-1] if hidden else 128}]"
            )
        super().__init__(shape, hidden, activation, "same", output, tied, **weights)
        self.weight = weight
        self.preactivation: Tensor | None = None  # of the code's units, for the batch that was encoded last

    def encode(self, x: Tensor) -> Tensor:
        a = self.encoder[0](x.flatten(1))
        self.preactivation = a if self.training else None
        code: Tensor = self.code_activation(a)
        self.penalize_activity(code)
        return code

    def squared_jacobian_norm(self, a: Tensor) -> Tensor:
        """Return ‖∂h/∂x‖², (batch,), for the code's pre-activations a (batch, code)."""
        if isinstance(self.code_activation, nn.Sigmoid):
            h = a.sigmoid()
            slope = h * (1 - h)
        elif isinstance(self.code_activation, nn.Tanh):
            slope = 1 - a.tanh().square()
        else:
            with torch.enable_grad():
                at = a if a.requires_grad else a.detach().requires_grad_()
                h = self.code_activation(at)
                (slope,) = torch.autograd.grad(h.sum(), at, create_graph=True)
        lengths = cast(nn.Linear, self.encoder[0]).weight.square().sum(1)  # Σ_i W_ji², (code,)
        return slope.square() @ lengths

    def penalty(self) -> Tensor:
        """Return the penalty of the last batch, 0-d."""
        assert self.preactivation is not None
        return self.weight * self.squared_jacobian_norm(self.preactivation).mean()
