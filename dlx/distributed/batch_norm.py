"""Batch normalization over the examples of all ranks.

torch's SyncBatchNorm works on GPUs only; the same equations are written out here for the processor.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.distributed.group import current_group

TORCH_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _AllReduceSum(torch.autograd.Function):
    """The sum over the ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _AllReduceSum.apply(grads[0])  # self-adjoint, so that a gradient penalty may be differentiated too


class SyncBatchNorm(nn.Module):
    """(x - E x) / √(Var x + ε) · γ + β, E and Var over the whole step; in evaluation the running means.

    Args:
        norm: the layer that it replaces, whose parameters and buffers it takes.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        replaced = cast(Any, norm)
        self.eps, self.momentum = replaced.eps, replaced.momentum
        for name, p in norm._parameters.items():
            self.register_parameter(name, p)
        for name, buffer in norm._buffers.items():
            self.register_buffer(name, buffer)
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or current_group().world_size == 1:
            return self._normalize_locally(x)
        dims = [d for d in range(x.ndim) if d != 1]
        count = x.numel() / x.shape[1]
        # A step too small to be divided is seen by all ranks: the means are the same whatever the weight.
        sums = _AllReduceSum.apply(torch.cat([x.sum(dims), x.new_tensor([count])]))
        shape = [1, -1] + [1] * (x.ndim - 2)
        n, mean = sums[-1], sums[:-1] / sums[-1]
        centred = x - mean.view(shape)
        variance = _AllReduceSum.apply(centred.square().sum(dims)) / n
        if self.running_mean is not None and self.running_var is not None:
            self._update_running_stats(mean.detach(), variance.detach() * (n / (n - 1)))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        output: Tensor = y if self.bias is None else y + self.bias.view(shape)
        return output

    def _normalize_locally(self, x: Tensor) -> Tensor:
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        batch = self.training or self.running_mean is None
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, batch, momentum or 0.0, self.eps
        )

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def convert_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace torch's batch normalizations by synchronised ones; parameters and their names stay.

    Frozen ones are left alone: they use their running means and keep them.
    """
    convert = nn.SyncBatchNorm.convert_sync_batchnorm if device.type == "cuda" else SyncBatchNorm
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in TORCH_LAYERS and "train" not in vars(child):
                setattr(module, name, convert(child))
    return model
