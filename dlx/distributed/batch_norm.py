"""Batch normalization over the examples of all ranks.

torch's SyncBatchNorm does so on GPUs and refuses the processor, for which the same equations are written out here.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.distributed.group import current_group

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Sum(torch.autograd.Function):
    """The sum over the ranks; the gradient of what each rank makes of it comes back as their sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Sum.apply(grads[0])  # its own adjoint, so that a gradient's penalty may be differentiated too


class SyncBatchNorm(nn.Module):
    """(x - E x) / √(Var x + ε) · γ + β, E and Var over the whole step; in evaluation the running means.

    Args:
        norm: the layer whose place it takes, with its parameters and buffers.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        given = cast(Any, norm)
        self.eps, self.momentum = given.eps, given.momentum
        for name, p in norm._parameters.items():
            self.register_parameter(name, p)
        for name, buffer in norm._buffers.items():
            self.register_buffer(name, buffer)
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or current_group().world == 1:
            return self._plain(x)
        dims = [d for d in range(x.ndim) if d != 1]
        count = x.numel() / x.shape[1]
        # A step too small to be divided is seen by all ranks: the means are the same, and each counts once.
        sums = _Sum.apply(torch.cat([x.sum(dims), x.new_tensor([count])]))
        shape = [1, -1] + [1] * (x.ndim - 2)
        n, mean = sums[-1], sums[:-1] / sums[-1]
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(dims)) / n
        if self.running_mean is not None and self.running_var is not None:
            self._follow(mean.detach(), variance.detach() * (n / (n - 1)))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)

    def _plain(self, x: Tensor) -> Tensor:
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        batch = self.training or self.running_mean is None
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, batch, momentum or 0.0, self.eps
        )

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def convert_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Put synchronised layers in the place of torch's batch normalizations; parameters and their names stay.

    Those that are frozen use their running means, and keep them.
    """
    made = nn.SyncBatchNorm.convert_sync_batchnorm if device.type == "cuda" else SyncBatchNorm
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in PLAIN and "train" not in vars(child):
                setattr(module, name, made(child))
    return model
