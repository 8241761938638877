"""An exponential moving average of a network's weights, whose samples are steadier than the network's own.

Y. Yazıcı et al., "The Unusual Effectiveness of Averaging in GAN Training", 2018, https://arxiv.org/abs/1806.04498.
"""

import copy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """w̄ = β w̄ + (1 - β) w after each update, where β rises to `decay` as (1 + t) / (10 + t).

    The rise lets the first, random weights be forgotten. The averaged weights are buffers: no gradient moves them.

    Args:
        network: what is averaged; the average starts as a copy of it.
        decay: β after many updates.
    """

    updates: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
        self.register_buffer("updates", torch.zeros((), dtype=torch.float32))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the averaged network's output."""
        output: Tensor = self.network(*inputs)
        return output

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take one step towards `network`; whole-number buffers (counters) are copied."""
        self.updates += 1
        weight = 1 - ((1 + self.updates) / (10 + self.updates)).clamp(max=self.decay)
        now = network.state_dict()
        for name, mean in self.network.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name], weight.to(mean.dtype))
            else:
                mean.copy_(now[name])
