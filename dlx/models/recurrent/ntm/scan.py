"""A whole sequence through a neural Turing machine, with its gradient by hand.

A step is some forty operations on small tensors: what counts is how many there are, and that none is told to autograd.
Here a step and its gradient are about a third of what the equations of `ntm.heads` cost, which are the test. The memory
lies with its rows along the last axis, (B, M, N): there are more of them than numbers in a row.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlx.models.recurrent.ntm.addressing import SMALL, TINY, pad_circular
from dlx.models.recurrent.ntm.controllers import Controller, Tensors, sigmoid_backward, tanh_backward
from dlx.models.recurrent.ntm.heads import HeadParameters, Sizes, make_head_parameters

softmax_backward = torch.ops.aten._softmax_backward_data


class StepCache(NamedTuple):
    """What the way back through a step's memory needs to know."""

    head: HeadParameters
    memory: Tensor  # (B, M, N) before the step
    w: Tensor  # (B, H, N) before the step
    scale: Tensor  # (B, H, 1) 1 / |k|
    key: Tensor  # (B, H, M) β k / |k|
    length: Tensor  # (B, 1, N) 1 / |row|
    z: Tensor  # (B, H, N) β times the cosines
    w_c: Tensor  # (B, H, N) by content
    wide: Tensor  # (B, H, N + S - 1) gated, around the end
    f: Tensor  # (B, H, N) shifted, + TINY
    log_f: Tensor
    new: Tensor  # (B, H, N) sharpened


def access_memory(head: HeadParameters, memory: Tensor, w: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, StepCache]:
    """Read from and write to memory (B, M, N): r (B, R, M), the memory after, and what `backward` needs.

    The equations of `ntm.heads`, in the same order.
    """
    R, W, N, _, S = sizes
    scale = (head.k * head.k).sum(2, keepdim=True).add_(SMALL).rsqrt_()
    key = head.k * (scale * head.beta)
    length = (memory * memory).sum(1, keepdim=True).add_(SMALL).rsqrt_()
    z = (key @ memory).mul_(length)
    w_c = z.softmax(2)
    wide = pad_circular(torch.lerp(w, w_c, head.g), S // 2)
    f = wide[:, :, :N] * head.s[:, :, S - 1 :]
    for j in range(1, S):
        f.addcmul_(wide[:, :, j : j + N], head.s[:, :, S - 1 - j, None])
    f.add_(TINY)
    log_f = f.log()
    new = (log_f * head.gamma).softmax(2)
    r = new[:, :R] @ memory.transpose(1, 2)
    if W == 1:  # m + w (a - m e) = m (1 - w e) + w a
        after = torch.addcmul(memory, _as_column(head.a) - memory * _as_column(head.e), new[:, R:])
    else:
        kept = (1 - head.e[..., None] * new[:, R:, None]).prod(1)
        after = (memory * kept).baddbmm_(head.a.transpose(1, 2), new[:, R:])
    return r, after, StepCache(head, memory, w, scale, key, length, z, w_c, wide, f, log_f, new)


def _as_column(v: Tensor) -> Tensor:
    """Return v (B, 1, M) as (B, M, 1)."""
    return v.transpose(1, 2)


def access_memory_backward(
    d_r: Tensor, d_memory: Tensor, d_w: Tensor, v: StepCache, sizes: Sizes
) -> tuple[HeadParameters, Tensor, Tensor]:
    """Return the gradients by the head parameters and by memory and weightings before, of those by what came after.

    Args:
        d_r: (B, R, M).
        d_memory: (B, M, N).
        d_w: (B, H, N).
        v: the visit.
        sizes: of heads and memory.
    """
    R, W, N, _, S = sizes
    head, memory = v.head, v.memory
    # eqs. 3, 4
    w_write = v.new[:, R:]
    if W == 1:
        e = _as_column(head.e)
        d_write = (d_memory * (_as_column(head.a) - memory * e)).sum(1, keepdim=True)
        erased = d_memory * w_write
        d_a = erased.sum(2)[:, None]
        d_e = (erased * memory).sum(2).neg_()[:, None]
        d_memory = torch.addcmul(d_memory, erased, e, value=-1)
    else:
        d_write, d_a, d_e, d_memory = _write_backward(d_memory, v, sizes)
    # eq. 2
    d_new = d_w + torch.cat((d_r @ memory, d_write), 1)
    d_memory = d_memory.baddbmm_(d_r.transpose(1, 2), v.new[:, :R])
    # eq. 9
    d_log = softmax_backward(d_new, v.new, 2, d_new.dtype)
    d_gamma = (d_log * v.log_f).sum(2, keepdim=True)
    d_f = d_log.mul_(head.gamma).div_(v.f)
    # eq. 8: the way back of a shift is the shift back
    d_s = torch.stack([(d_f * v.wide[:, :, j : j + N]).sum(2) for j in reversed(range(S))], 2)
    d_wide = pad_circular(d_f, S // 2)
    d_g_w = d_wide[:, :, :N] * head.s[:, :, :1]
    for j in range(1, S):
        d_g_w.addcmul_(d_wide[:, :, j : j + N], head.s[:, :, j, None])
    # eq. 7
    d_g = (d_g_w * (v.w_c - v.w)).sum(2, keepdim=True)
    d_c = d_g_w * head.g
    # eqs. 5, 6
    d_z = softmax_backward(d_c, v.w_c, 2, d_c.dtype)
    d_dot = d_z * v.length
    d_memory.baddbmm_(v.key.transpose(1, 2), d_dot)
    d_memory.addcmul_(memory, (d_z * v.z).sum(1, keepdim=True).mul_(v.length * v.length), value=-1)
    d_key = d_dot @ memory.transpose(1, 2)
    along = (d_key * head.k).sum(2, keepdim=True)  # by 1 / |k| times β
    d_k = (d_key * head.beta).addcmul_(head.k, along * head.beta * v.scale * v.scale, value=-1).mul_(v.scale)
    d_head = HeadParameters(k=d_k, a=d_a, g=d_g, e=d_e, beta=along * v.scale, gamma=d_gamma, s=d_s)
    return d_head, d_memory, d_g_w - d_c


def _write_backward(d_memory: Tensor, v: StepCache, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return gradients by writing weightings, adds, erases and the memory before, of any number of heads that write."""
    head, w = v.head, v.new[:, sizes.R :]
    kept = 1 - head.e[..., None] * w[:, :, None]  # (B, W, M, N)
    before = torch.cat((torch.ones_like(kept[:, :1]), kept[:, :-1].cumprod(1)), 1)
    behind = torch.cat((kept[:, 1:].flip(1).cumprod(1).flip(1), torch.ones_like(kept[:, :1])), 1)
    others = before * behind  # of the other heads: a quotient would divide by what was erased entirely
    d_kept = (d_memory * v.memory)[:, None] * others
    d_e = -(d_kept @ w[..., None])[..., 0]
    d_w = head.a @ d_memory - (head.e[:, :, None] @ d_kept)[:, :, 0]
    return d_w, w @ d_memory.transpose(1, 2), d_e, d_memory * kept.prod(1)


def head_parameters_backward(d: HeadParameters, head: HeadParameters) -> Tensor:
    """Return the gradient by the numbers p of `make_head_parameters`."""
    flat = [part.flatten(1) for part in d]
    known = [part.flatten(1) for part in head]
    return torch.cat(
        (
            tanh_backward(torch.cat(flat[:2], 1), torch.cat(known[:2], 1)),
            sigmoid_backward(torch.cat(flat[2:4], 1), torch.cat(known[2:4], 1)),
            # softplus' = σ = 1 - exp(-softplus)
            flat[4] * -(-known[4]).expm1(),
            flat[5] * -(1 - known[5]).expm1(),
            softmax_backward(d.s, head.s, 2, d.s.dtype).flatten(1),
        ),
        1,
    )


class ClampGradient(torch.autograd.Function):
    """The same, with a bound on each entry of its gradient. `apply(x, bound)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.bound = bound
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        return d.clamp(-ctx.bound, ctx.bound), None


class Scan(torch.autograd.Function):
    """Steps 1, …, T of a machine.

    `apply(sizes, controller, bound, z, U, P, p, memory, w, r, *state)` gives h (T, B, hidden), what was read
    (T, B, R · M), and the memory, w, r and state after the last step.

    Args:
        sizes: of heads and memory.
        controller: without its weights.
        bound: on each entry of the gradient that is passed from a step to the one before.
        z: (T, B, gates · hidden), W x_t + b.
        U: (gates · hidden, R · M [+ hidden]), from what was read and, if it remembers, from the controller's h.
        P, p: (sum(sizes.parts), hidden) and (sum(sizes.parts),), from h to the heads.
        memory: (B, M, N).
        w: (B, H, N).
        r: (B, R · M).
        state: the controller's.
    """

    @staticmethod
    def forward(ctx: Any, sizes: Sizes, controller: Controller, bound: float, z: Tensor, *rest: Tensor) -> Tensors:
        U, P, p, memory, w, r, *start = rest
        state, UT, PT, B = tuple(start), U.t(), P.t(), z.shape[1]
        keep = any(ctx.needs_input_grad)
        hs, rs, steps = [], [r], []
        for z_t in z.unbind(0):
            given = torch.cat((r, state[0]), 1) if state else r
            h, state, known = controller.step(torch.addmm(z_t, given, UT), state)
            head = make_head_parameters(torch.addmm(p, h, PT), sizes)
            read, memory, visited = access_memory(head, memory, w, sizes)
            r, w = read.view(B, -1), visited.new
            hs.append(h)
            rs.append(r)
            if keep:
                steps.append((known, visited))
        h = torch.stack(hs)
        ctx.sizes, ctx.controller, ctx.bound, ctx.steps, ctx.rs = sizes, controller, bound, steps, rs[:-1]
        ctx.save_for_backward(U, P, h, *start[:1])
        # w is a copy: an output that its own way back remembers would never be freed.
        return h, torch.stack(rs[1:]), memory, w.clone(), r, *state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        d_hs, d_rs, d_memory, d_w, d_r, *d_state = grads
        sizes, controller, bound, (U, P, h, *h_0) = ctx.sizes, ctx.controller, ctx.bound, ctx.saved_tensors
        B, d_zs, d_ps = len(d_w), [], []
        for t in reversed(range(len(h))):
            known, visited = ctx.steps[t]
            d_r = d_rs[t] + d_r
            d_head, d_memory, d_w = access_memory_backward(d_r.view(B, sizes.R, sizes.M), d_memory, d_w, visited, sizes)
            d_p = head_parameters_backward(d_head, visited.head)
            d_h = torch.addmm(d_hs[t], d_p, P)
            if d_state:
                d_h = d_h + d_state[0]
            d_z, rest = controller.backward(d_h, tuple(d_state[1:]), known)
            d_given = d_z @ U
            d_r = d_given[:, : sizes.R * sizes.M]
            if d_state:
                d_state = [d_given[:, sizes.R * sizes.M :], *rest]
            for d in (d_memory, d_w, d_r, *d_state):
                d.clamp_(-bound, bound)
            d_zs.append(d_z)
            d_ps.append(d_p)
        d_z, d_p = torch.stack(d_zs[::-1]), torch.stack(d_ps[::-1]).flatten(0, 1)
        given = torch.stack(ctx.rs)
        if d_state:
            given = torch.cat((given, torch.cat((h_0[0][None], h[:-1]))), 2)
        d_U = d_z.flatten(0, 1).t() @ given.flatten(0, 1)
        d_P = d_p.t() @ h.flatten(0, 1)
        return None, None, None, d_z, d_U, d_P, d_p.sum(0), d_memory, d_w, d_r, *d_state
