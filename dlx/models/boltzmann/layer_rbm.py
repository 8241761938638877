"""A dense layer learned as a restricted Boltzmann machine."""

import torch
from torch import Tensor, nn

from dlx.models.boltzmann.rbm import RBM
from dlx.models.boltzmann.units import UNITS, Kind


class LayerRBM(RBM):
    """The RBM whose hidden units are a layer's outputs and whose visible units are its inputs, on the same parameters.

    Args:
        weight: of the layer, (hidden, visible).
        b: biases of the visible units, those of the way back.
        c: biases of the hidden units, those of the layer.
        visible_units: binary or gaussian.
        hidden_units: binary or gaussian.
    """

    def __init__(
        self, weight: nn.Parameter, b: nn.Parameter, c: nn.Parameter, visible_units: Kind, hidden_units: Kind
    ) -> None:
        nn.Module.__init__(self)
        self.weight, self.b, self.c = weight, b, c
        self.visible_kind, self.hidden_kind = UNITS[visible_units], UNITS[hidden_units]
        self.shape = (len(b),)
        with torch.no_grad():
            weight.normal_(std=0.01)  # Hinton 2010, §8; what the layer's own initializer made would be too large

    @property
    def W(self) -> Tensor:  # type: ignore[override]
        """(visible, hidden)."""
        return self.weight.T

    def contrast(self, v: Tensor, steps: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        fantasy, gap, (W, b, c) = super().contrast(v, steps)
        return fantasy, gap, (W.T.contiguous(), b, c)

    def free_energy_gap(self, v: Tensor, fantasy: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        gap, (W, b, c) = super().free_energy_gap(v, fantasy)
        return gap, (W.T.contiguous(), b, c)
