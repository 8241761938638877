"""The deep autoencoder, whose layers are pretrained as restricted Boltzmann machines.

G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006,
https://doi.org/10.1126/science.1127647.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import nn

from dlx.batch import Batch
from dlx.models.autoencoders.autoencoder import Autoencoder
from dlx.models.boltzmann.layer_rbm import LayerRBM
from dlx.types import Count


class DeepAutoencoder(Autoencoder):
    """Logistic layers and a linear code. `procedure=fine_tune` learns each layer as an RBM first, then unrolls them.

    The code's RBM has Gaussian hidden units, as in the paper; data that are not in [0, 1] meet Gaussian visible ones.

    Args:
        shape: of one example.
        hidden: units of each layer of the encoder; the last one is the code.
        output: `sigmoid` for data in [0, 1], or `linear`; `auto` is the first for images.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128, 64, 16),
        output: Literal["auto", "sigmoid", "linear"] = "auto",
        **weights: Any,
    ) -> None:
        super().__init__(shape, hidden, activation="sigmoid", code_activation=None, output=output, **weights)

    def stack(self) -> list[nn.Module]:
        """Return each layer as an RBM with the encoder's parameters and the decoder's biases."""
        top = len(self.encoder) - 1
        machines: list[nn.Module] = []
        for i, (there, back) in enumerate(self._pairs()):
            real = i == 0 and not self.sigmoid
            machines.append(
                LayerRBM(
                    cast(nn.Parameter, there.weight),
                    back.bias,
                    there.bias,
                    "gaussian" if real else "binary",
                    "gaussian" if i == top and not real else "binary",
                )
            )
        return machines

    def below(self, index: int, batch: Batch) -> Batch:
        """Return what layer `index` sees of a batch: the means of the layers below."""
        h = batch.x.flatten(1)
        for i in range(index):
            h = self.encode_layer(i, h)
        return Batch(h, batch.y)

    @torch.no_grad()
    def unroll(self) -> None:
        """Initialize the decoder with the encoder's transposed weights."""
        for there, back in self._pairs():
            back.weight.copy_(there.weight.T)

    def _pairs(self) -> list[tuple[nn.Linear, nn.Linear]]:
        return [(cast(nn.Linear, a), cast(nn.Linear, b)) for a, b in zip(self.encoder, self.decoder, strict=True)]
