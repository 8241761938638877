"""Back-propagation through time, written out, for the layers of which processors have no good kernel.

P. Werbos, "Backpropagation Through Time: What It Does and How to Do It", Proc. IEEE 78, 1990. On a processor torch
computes nn.RNN and nn.GRU step by step, as any other graph, and in the backward pass adds up the gradient of U at every
step. Here only what depends on the step before is done step by step, in memory that is there; the gradients of the
weights are one product over all steps. The numbers are the same, in 0.25 (16 units) to 0.9 (512) of the time; LSTMs
have a kernel that is better (oneDNN's). T steps, B sequences, H units; time is the first dimension within.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dlx.models.recurrent.cells import State, Weights


def elman(weights: Weights, x: Tensor, h_0: Tensor, relu: bool) -> tuple[Tensor, State]:
    """Return all states (B, T, H) of `cells.Elman` on x (B, T, inputs), from h_0 (B, H), and the last."""
    W, U, b, d, _ = weights
    a = F.linear(x.transpose(0, 1), W, b + d)
    h = _ElmanUnroll.apply(a, h_0, U, relu)
    return h.transpose(0, 1), (h[-1],)


def gru(weights: Weights, x: Tensor, h_0: Tensor, after: bool) -> tuple[Tensor, State]:
    """Do as `elman`, for `cells.GRU`, or for `cells.GRUResetBefore` unless `after`."""
    H = weights.U.shape[1]
    (W_rz, W_n), (U_rz, U_n), (b_rz, b_n), (d_rz, d_n) = (w.split((2 * H, H)) for w in weights[:4] if w is not None)
    x = x.transpose(0, 1)
    a_rz, a_n = F.linear(x, W_rz, b_rz + d_rz), F.linear(x, W_n, b_n if after else b_n + d_n)
    h = _GRUUnroll.apply(a_rz, a_n, h_0, U_rz, U_n, d_n, after)
    return h.transpose(0, 1), (h[-1],)


class _ElmanUnroll(torch.autograd.Function):
    """h_t = f(a_t + U h_{t-1}), f = tanh or max(0, ·): all states (T, B, H) of a (T, B, H), h_0 (B, H) and U."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, h_0: Tensor, U: Tensor, relu: bool) -> Tensor:
        h = torch.empty_like(a)
        before, U_t = h_0, U.t()
        for a_t, h_t in zip(a.unbind(), h.unbind(), strict=True):
            torch.addmm(a_t, before, U_t, out=h_t)
            before = h_t.relu_() if relu else h_t.tanh_()
        ctx.save_for_backward(h, h_0, U)
        ctx.relu = relu
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        h, h_0, U = ctx.saved_tensors
        (g,) = grads
        da = torch.empty_like(h)
        d, part = torch.zeros_like(h_0), torch.empty_like(h_0)  # d: of the loss by h_t, through the steps after it
        for g_t, h_t, da_t in zip(*(reversed(x.unbind()) for x in (g, h, da)), strict=True):
            d += g_t
            if ctx.relu:
                torch.mul(d, h_t > 0, out=da_t)
            else:
                torch.mul(d, h_t, out=part)
                torch.addcmul(d, part, h_t, value=-1, out=da_t)  # tanh' = 1 - tanh²
            torch.mm(da_t, U, out=d)
        return da, d, _product(da, h, h_0), None


class _GRUUnroll(torch.autograd.Function):
    """As `cells.GRU`, or `cells.GRUResetBefore` unless `after`: all states (T, B, H).

    Args of `apply`: a_rz (T, B, 2H) and a_n (T, B, H), what enters the gates and the candidate; h_0 (B, H); U_rz
    (2H, H), U_n (H, H) and its bias b_n (H,); after. A bias of the gates is part of a_rz.
    """

    @staticmethod
    def forward(
        ctx: Any, a_rz: Tensor, a_n: Tensor, h_0: Tensor, U_rz: Tensor, U_n: Tensor, b_n: Tensor, after: bool
    ) -> Tensor:
        H = len(U_n)
        rz, n, h, inner = torch.empty_like(a_rz), *(torch.empty_like(a_n) for _ in range(3))
        before, U_rz_t, U_n_t = h_0, U_rz.t(), U_n.t()
        parts = (a_rz, a_n, rz, *rz.split(H, 2), n, h, inner)
        for a_t, b_t, rz_t, r, z, n_t, h_t, inner_t in zip(*(x.unbind() for x in parts), strict=True):
            torch.addmm(a_t, before, U_rz_t, out=rz_t).sigmoid_()
            if after:  # inner = U h + b
                torch.addmm(b_n, before, U_n_t, out=inner_t)
                torch.addcmul(b_t, r, inner_t, out=n_t).tanh_()
            else:  # inner = r ⊙ h, and b is part of a_n
                torch.mul(r, before, out=inner_t)
                torch.addmm(b_t, inner_t, U_n_t, out=n_t).tanh_()
            before = torch.lerp(n_t, before, z, out=h_t)
        ctx.save_for_backward(rz, n, h, inner, h_0, U_rz, U_n)
        ctx.after = after
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        rz, n, h, inner, h_0, U_rz, U_n = ctx.saved_tensors
        (g,) = grads
        H, after = len(U_n), ctx.after
        da_rz, da_n = torch.empty_like(rz), torch.empty_like(n)
        du = torch.empty_like(n) if after else da_n  # of U h + b, or U (r ⊙ h) + b
        d, part, slope, slopes = torch.zeros_like(h_0), *(torch.empty_like(x) for x in (h_0, h_0, rz[0]))
        slope_r, slope_z = slopes.split(H, 1)
        gates = (rz, *rz.split(H, 2), n, inner, da_rz, *da_rz.split(H, 2), da_n, du)
        steps = zip(g.unbind(), (h_0, *h[:-1].unbind()), *(x.unbind() for x in gates), strict=True)
        for g_t, before, rz_t, r, z, n_t, inner_t, da_rz_t, da_r, da_z, da_n_t, du_t in reversed(list(steps)):
            d += g_t
            torch.addcmul(rz_t, rz_t, rz_t, value=-1, out=slopes)  # σ' = σ (1 - σ)
            torch.sub(before, n_t, out=part).mul_(d)
            torch.mul(part, slope_z, out=da_z)
            torch.addcmul(d, d, z, value=-1, out=part)
            torch.mul(part, n_t, out=slope)
            torch.addcmul(part, slope, n_t, value=-1, out=da_n_t)  # tanh' = 1 - tanh²
            d *= z
            if after:
                torch.mul(da_n_t, r, out=du_t)
                d.addmm_(du_t, U_n)
                torch.mul(da_n_t, inner_t, out=part)
            else:
                torch.mm(da_n_t, U_n, out=part)
                d.addcmul_(part, r)
                part *= before
            torch.mul(part, slope_r, out=da_r)
            d.addmm_(da_rz_t, U_rz)
        dU_n = _product(du, h, h_0) if after else du.flatten(0, 1).t() @ inner.flatten(0, 1)
        return da_rz, da_n, d, _product(da_rz, h, h_0), dU_n, du.sum((0, 1)) if after else None, None


def _product(d: Tensor, h: Tensor, h_0: Tensor) -> Tensor:
    """Return Σ_t d_t h_{t-1}ᵀ, (n, H) of d (T, B, n) and h (T, B, H)."""
    first = d[0].t() @ h_0
    return first.addmm_(d[1:].flatten(0, 1).t(), h[:-1].flatten(0, 1)) if len(h) > 1 else first
