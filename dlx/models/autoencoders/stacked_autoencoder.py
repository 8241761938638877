"""The stacked (denoising) autoencoder: a classifier whose layers are pretrained as autoencoders.

Y. Bengio, P. Lamblin, D. Popovici, H. Larochelle, "Greedy Layer-Wise Training of Deep Networks", NIPS 2006. P. Vincent,
H. Larochelle, I. Lajoie, Y. Bengio, P.-A. Manzagol, "Stacked Denoising Autoencoders", JMLR 11, 2010,
https://jmlr.org/papers/v11/vincent10a.html.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.models.activations import Activation, make_activation
from dlx.models.autoencoders.noise import corrupt
from dlx.models.weights import WeightedModel
from dlx.types import Count, NonNegative


class LayerAutoencoder(nn.Module):
    """A layer and its decoder, as an autoencoder of the output of the layers below.

    Args:
        there: the layer; it is the classifier's own.
        back: the decoder, from its units to its inputs.
        activation: of the layer.
        sigmoid: the inputs are in [0, 1].
        corruption, level: of the inputs, in training.
    """

    def __init__(
        self,
        there: nn.Module,
        back: nn.Module,
        activation: nn.Module,
        sigmoid: bool,
        corruption: Literal["masking", "gaussian", "salt_and_pepper"],
        level: float,
    ) -> None:
        super().__init__()
        self.there, self.back, self.activation, self.sigmoid = there, back, activation, sigmoid
        self.corruption, self.level = corruption, level

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode x, (batch, units); in training mode, a corrupted x."""
        corrupted = corrupt(x, self.corruption, self.level) if self.training and self.level else x
        reconstruction = self.back(self.activation(self.there(corrupted)))
        result: Tensor = reconstruction.sigmoid() if self.sigmoid else reconstruction
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions, (batch, units)."""
        return self.reconstruct(x)


class StackedAutoencoder(WeightedModel):
    """Layers h = f(W h + b), a linear layer on top; `procedure=stacked` learns each layer as an autoencoder first.

    Args:
        shape: of one example, with values in [0, 1] for images.
        hidden: units of each layer.
        outputs: classes.
        activation: of the layers, any of torch.nn's by name.
        corruption: masking, gaussian or salt_and_pepper; a layer's input is corrupted while it is pretrained.
        level: probability that an element is corrupted, or the standard deviation; 0 for plain autoencoders.
        weights: initializers, penalties and constraints, as in `WeightedModel`; the activity is that of the last layer.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image", "vector")

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[Count] = (128, 128),
        outputs: Count = 10,
        activation: Activation | None = "sigmoid",
        corruption: Literal["masking", "gaussian", "salt_and_pepper"] = "masking",
        level: NonNegative = 0.25,
        **weights: Any,
    ) -> None:
        super().__init__(**weights)
        self.shape = tuple(shape)
        sizes = [math.prod(shape), *hidden]
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        self.backs = nn.ModuleList(nn.Linear(m, n) for n, m in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], outputs)
        self.activation = make_activation(activation)
        self.corruption: Literal["masking", "gaussian", "salt_and_pepper"] = corruption
        self.level = level
        self.apply_weight_settings()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, outputs) of x (batch, *shape)."""
        logits: Tensor = self.head(self.encode(x))
        return logits

    def encode(self, x: Tensor) -> Tensor:
        """Return the last hidden layer's output for x (batch, *shape), (batch, units)."""
        code = self.encode_layers(x.flatten(1), len(self.layers))
        self.penalize_activity(code)
        return code

    def encode_layers(self, h: Tensor, layers: int) -> Tensor:
        """Apply the first `layers` layers to h (batch, units)."""
        for layer in self.layers[:layers]:
            h = self.activation(layer(h))
        return h

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode x and decode it through the layers' own decoders, (batch, *shape)."""
        h = self.encode(x)
        for i, pair in reversed(list(enumerate(self.stack()))):
            assert isinstance(pair, LayerAutoencoder)
            h = pair.back(h)
            h = self.activation(h) if i else h.sigmoid() if pair.sigmoid else h
        return h.view(-1, *self.shape)

    def stack(self) -> list[nn.Module]:
        """Return each layer with its decoder."""
        image, logistic = len(self.shape) == 3, isinstance(self.activation, nn.Sigmoid)
        return [
            LayerAutoencoder(there, back, self.activation, logistic if i else image, self.corruption, self.level)
            for i, (there, back) in enumerate(zip(self.layers, self.backs, strict=True))
        ]

    def below(self, index: int, batch: Batch) -> Batch:
        """Return what layer `index` sees of a batch."""
        return Batch(self.encode_layers(batch.x.flatten(1), index), batch.y)

    def pictures(self) -> dict[str, Tensor]:
        """Return the weights of each unit of the first layer as images, where examples are images."""
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            return {}
        from dlx.figures.figures import plot_filters

        return {"filters": plot_filters(cast(nn.Linear, self.layers[0]).weight.detach().cpu(), self.shape)}
