"""Recurrent layers of all trials at once, step by step, with the gradient written out.

Batched by `vmap`, a step of a layer is a product and some ten operators forward, twice as many backward, each of which
reads its numbers in another order than the one before wrote them in. Here a step is one product for all trials, and two
backward, with the gates in place between them. T steps, K trials, B sequences, H units; N = H + 1 + inputs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dlx.models.recurrent import cells as single
from dlx.models.recurrent.cells import State, Weights
from dlx.models.recurrent.layers import Layers
from dlx.vectorized.cells import GRU, LSTM, Cell, Elman, GRUBefore

Tensors = tuple[Tensor, ...]


def install_stacked_cells(template: nn.Module) -> bool:
    """Let a template's recurrent layers compute all trials at once, where they can. Returns whether any do."""
    cells = [(layers, _make_cell(layers)) for layers in template.modules() if isinstance(layers, Layers)]
    for layers, cell in cells:
        layers.batched = None if cell is None else partial(_unroll_trial, cell)
    return any(cell is not None for _, cell in cells)


def _make_cell(layers: Layers) -> Cell | None:
    """Return the stacked form of a layer's cell; None where there is none."""
    cell, rnn = layers.cell, layers.rnn
    if layers.batch_norms is not None or rnn.proj_size:
        return None
    if isinstance(cell, partial) and cell.func is single.Elman:
        return Elman(relu=cell.keywords["f"] is torch.relu)
    kinds: dict[Any, Callable[[], Cell]] = {single.GRU: GRU, single.GRUResetBefore: GRUBefore, single.LSTM: LSTM}
    return kinds[cell]() if cell in kinds else None


def _unroll_trial(cell: Cell, weights: Weights, x: Tensor, *start: Tensor) -> tuple[Tensor, State]:
    """Return all states h (B, T, H) of one trial, and the states after the last step, as `Layers` wants them."""
    h, *after = _UnrollTrial.apply(cell, cell.pack_weights(weights), x.permute(1, 2, 0), *(part.mT for part in start))
    return h.permute(2, 0, 1), tuple(part.mT for part in (h[-1], *after))


class _UnrollTrial(torch.autograd.Function):
    """As `_UnrollAll`, for one trial, without K; `vmap` replaces it with that of all."""

    @staticmethod
    def forward(cell: Cell, M: Tensor, x: Tensor, *start: Tensor) -> Any:
        raise NotImplementedError("this is for trials of a stack")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing: see `vmap`."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, cell: Cell, *tensors: Tensor) -> Any:
        stacked = []
        for tensor, dim in zip(tensors, in_dims[1:], strict=True):
            stacked.append(tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0))
        M, x, *start = stacked
        h, *after = _UnrollAll.apply(cell, M, x.transpose(0, 1), *start)
        return (h, *after), (1, *[0] * len(after))


class _UnrollAll(torch.autograd.Function):
    """`apply(cell, M, x, h_0, …)`: all states h (T, K, H, B), and the other states after the last step.

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
        kept = [entering[:, :, :H], *(x.new_empty(T + 1, K, H, B) for _ in range(len(start) - 1 + cell.n_saved))]
        for states, first in zip(kept, start, strict=False):
            states[0].copy_(first)
        times = list(zip(*(states.unbind() for states in kept), strict=True))
        for entering_t, z_t, before, after in zip(entering[:T].unbind(), z.unbind(), times, times[1:], strict=False):
            torch.bmm(M, entering_t, out=z_t)
            cell.step(z_t, M, before, after)
        ctx.cell, ctx.saved = cell, (M, entering[:T], z, times)
        return (kept[0][1:], *(part.clone() for part in times[-1][1 : len(start)]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        cell, (M, entering, z, times) = ctx.cell, ctx.saved
        g, *last = grads
        (T, K, H, B), needs_dx = g.shape, ctx.needs_input_grad[2]
        M_h, M_x = M[:, : cell.n_recurrent_blocks * H, :H].mT, M[:, :, H + 1 :].mT
        dM_t, dz = M.new_zeros(M.mT.shape), torch.empty_like(z[0])
        dx = g.new_empty(T, K, M_x.shape[1], B) if needs_dx else None
        d = (g.new_zeros(K, H, B), *(part.clone() for part in last))
        steps = zip(g.contiguous().unbind(), entering.unbind(), z.unbind(), times, times[1:], strict=False)
        for t, (g_t, entering_t, z_t, before, after) in reversed(list(enumerate(steps))):
            d[0].add_(g_t)
            cell.step_backward(d, z_t, dz, M, dM_t.mT, before, after)
            d[0].baddbmm_(M_h, dz[:, : cell.n_recurrent_blocks * H], beta=int(cell.has_skip))
            dM_t.baddbmm_(entering_t, dz.mT)
            if dx is not None:
                torch.bmm(M_x, dz, out=dx[t])
        return None, dM_t.mT, dx, *d
