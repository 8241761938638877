"""What a deep Boltzmann machine becomes for a while: RBMs while it is pretrained, a feed-forward network at the end.

R. Salakhutdinov, G. Hinton, "Deep Boltzmann Machines", AISTATS 2009,
https://proceedings.mlr.press/v5/salakhutdinov09a.html, §3.2 and §3.4.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlx.models.boltzmann.rbm import RBM


class DoubledRBM(RBM):
    """The RBM between two layers of a deep machine, with the weights doubled where a neighbour is missing (§3.2).

    A unit between two layers hears from both. Learning by itself, a pair of layers counts its own input twice instead:
    upwards unless it is the topmost pair, downwards unless it is the lowest. The parameters are the deep machine's.

    Args:
        W: (lower, upper).
        b: of the lower layer.
        c: of the upper layer.
        up: factor of the input upwards.
        down: factor of the input downwards.
    """

    def __init__(self, W: nn.Parameter, b: nn.Parameter, c: nn.Parameter, up: float, down: float) -> None:
        super().__init__([1], 1)
        self.W, self.b, self.c = W, b, c
        self.shape = (len(b),)
        self.up, self.down = up, down

    def hidden_inputs(self, v: Tensor) -> Tensor:
        return torch.addmm(self.c, v, self.W, alpha=self.up)

    def visible_inputs(self, h: Tensor) -> Tensor:
        return torch.addmm(self.b, h, self.W.T, alpha=self.down)


class Unrolled(nn.Module):
    """The feed-forward network that starts at the machine's weights (§3.4): h¹ sees v and the mean-field μ² beside it.

    Args:
        sizes: units of the layers, the data's first.
        outputs: of the linear layer on top.
    """

    def __init__(self, sizes: Sequence[int], outputs: int) -> None:
        super().__init__()
        above = sizes[2]
        self.first = nn.Linear(sizes[0] + above, sizes[1])
        self.rest = nn.ModuleList(nn.Linear(n, m) for n, m in itertools.pairwise(sizes[1:]))
        self.head = nn.Linear(sizes[-1], outputs)

    def forward(self, v: Tensor, above: Tensor) -> Tensor:
        """Return the logits (batch, outputs).

        Args:
            v: (batch, visible).
            above: means of the second hidden layer given v, (batch, units).
        """
        h = self.first(torch.cat([v, above], 1)).sigmoid()
        for layer in self.rest:
            h = layer(h).sigmoid()
        logits: Tensor = self.head(h)
        return logits

    @torch.no_grad()
    def copy_weights(self, W: Sequence[Tensor], b: Sequence[Tensor]) -> None:
        """Take the machine's weights.

        Args:
            W: between each two layers, (lower, upper).
            b: of each layer, the data's first.
        """
        self.first.weight.copy_(torch.cat([W[0].T, W[1]], 1))
        self.first.bias.copy_(b[1])
        for layer, weights, biases in zip(self.rest, W[1:], b[2:], strict=True):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(weights.T)
            layer.bias.copy_(biases)
