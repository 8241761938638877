"""Recurrent layers of all trials at once, step by step, with the gradient written out.

Batched by `vmap`, a step of a layer is a product and some ten operators forth, twice as many back, each of which looks
for its numbers in another order than the one before wrote them in. Here a step is one product for all trials, and two
on the way back, with the gates in place between them. T steps, K trials, B sequences, H units; N = H + 1 + inputs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dlx.models.recurrent import cells as lone
from dlx.models.recurrent.cells import State, Weights
from dlx.models.recurrent.layers import Layers
from dlx.vectorized.cells import GRU, LSTM, Cell, Elman, GRUBefore

Tensors = tuple[Tensor, ...]


def sweep_all(template: nn.Module) -> bool:
    """Let a template's recurrent layers compute those of all trials at once, where there is a cell; whether any do."""
    found = [(layers, _cell(layers)) for layers in template.modules() if isinstance(layers, Layers)]
    for layers, cell in found:
        layers.batched = None if cell is None else partial(_sweep, cell)
    return any(cell is not None for _, cell in found)


def _cell(layers: Layers) -> Cell | None:
    made, rnn = layers.cell, layers.rnn
    if layers.batch_norms is not None or rnn.proj_size:
        return None
    if isinstance(made, partial) and made.func is lone.Elman:
        return Elman(relu=made.keywords["f"] is torch.relu)
    kinds: dict[Any, Callable[[], Cell]] = {lone.GRU: GRU, lone.GRUResetBefore: GRUBefore, lone.LSTM: LSTM}
    return kinds[made]() if made in kinds else None


def _sweep(cell: Cell, weights: Weights, x: Tensor, *start: Tensor) -> tuple[Tensor, State]:
    """All states h (B, T, H) of one trial of many, and those after the last step, as `Layers` wants them."""
    h, *after = _OfOne.apply(cell, cell.matrix(weights), x.permute(1, 2, 0), *(part.mT for part in start))
    return h.permute(2, 0, 1), tuple(part.mT for part in (h[-1], *after))


class _OfOne(torch.autograd.Function):
    """As `_Sweep`, of one trial, without K: what `vmap` exchanges for that of all."""

    @staticmethod
    def forward(cell: Cell, M: Tensor, x: Tensor, *start: Tensor) -> Any:
        raise NotImplementedError("this is for trials of a stack")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: see `vmap`."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, cell: Cell, *tensors: Tensor) -> Any:
        whole = []
        for tensor, dim in zip(tensors, in_dims[1:], strict=True):
            whole.append(tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0))
        M, x, *start = whole
        h, *after = _Sweep.apply(cell, M, x.transpose(0, 1), *start)
        return (h, *after), (1, *[0] * len(after))


class _Sweep(torch.autograd.Function):
    """`apply(cell, M, x, h_0, …)`: all states h (T, K, H, B), and what else there is of states after the last step.

    Args:
        cell: of the layer.
        M: (K, gates · H, N).
        x: (T, K, inputs, B).
        h_0, …: states before the first step, (K, H, B).
    """

    @staticmethod
    def forward(ctx: Any, cell: Cell, M: Tensor, x: Tensor, *start: Tensor) -> Tensors:
        (T, K, _, B), (_, H, _) = x.shape, start[0].shape
        entering = x.new_empty(T + 1, K, M.shape[2], B)
        entering[:T, :, H + 1 :].copy_(x)
        entering[:, :, H].fill_(1)
        z = x.new_empty(T, K, M.shape[1], B)
        kept = [entering[:, :, :H], *(x.new_empty(T + 1, K, H, B) for _ in range(len(start) - 1 + cell.noted))]
        for states, first in zip(kept, start, strict=False):
            states[0].copy_(first)
        times = list(zip(*(states.unbind() for states in kept), strict=True))
        for entering_t, z_t, before, after in zip(entering[:T].unbind(), z.unbind(), times, times[1:], strict=False):
            torch.bmm(M, entering_t, out=z_t)
            cell.step(z_t, M, before, after)
        ctx.cell, ctx.known = cell, (M, entering[:T], z, times)
        return (kept[0][1:], *(part.clone() for part in times[-1][1 : len(start)]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        cell, (M, entering, z, times) = ctx.cell, ctx.known
        g, *last = grads
        (T, K, H, B), by_x = g.shape, ctx.needs_input_grad[2]
        M_h, M_x = M[:, : cell.seeing * H, :H].mT, M[:, :, H + 1 :].mT
        dM_t, dz = M.new_zeros(M.mT.shape), torch.empty_like(z[0])
        dx = g.new_empty(T, K, M_x.shape[1], B) if by_x else None
        d = (g.new_zeros(K, H, B), *(part.clone() for part in last))
        steps = zip(g.contiguous().unbind(), entering.unbind(), z.unbind(), times, times[1:], strict=False)
        for t, (g_t, entering_t, z_t, before, after) in reversed(list(enumerate(steps))):
            d[0].add_(g_t)
            cell.back(d, z_t, dz, M, dM_t.mT, before, after)
            d[0].baddbmm_(M_h, dz[:, : cell.seeing * H], beta=int(cell.passing))
            dM_t.baddbmm_(entering_t, dz.mT)
            if dx is not None:
                torch.bmm(M_x, dz, out=dx[t])
        return None, dM_t.mT, dx, *d
