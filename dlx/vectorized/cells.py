"""One step of each recurrent layer for all trials of a stack, and its backward pass.

The equations are those of `dlx.models.recurrent.cells`. K trials, B sequences, H units. A trial's layer learns one
matrix M (gates · H, H + 1 + inputs), which multiplies what enters a step: h of the step before, a row of ones, and
x_t, (H + 1 + inputs, B). The sequences lie innermost, so that each gate is one block of memory.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dlx.models.recurrent.cells import Weights

Tensors = tuple[Tensor, ...]

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # of a gradient and the function's output
tanh_backward = torch.ops.aten.tanh_backward.grad_input
relu_backward = torch.ops.aten.threshold_backward.grad_input


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """Compute tanh into `out`. On a CPU as 2 σ(2x) - 1: a third of the time, with an error of at most 1.8e-7."""
    if not x.is_cpu:
        return torch.tanh(x, out=out)
    torch.add(x, x, out=out).sigmoid_()
    return out.add_(out).sub_(1)


class Cell(ABC):
    """The step of a layer of H units, forward and backward."""

    n_recurrent_blocks: int  # blocks of H rows of M that multiply h; those come first
    has_skip = False  # whether h also reaches the next step past the product
    n_saved = 0  # further tensors (K, H, B) of a step that `step_backward` needs

    def pack_weights(self, weights: Weights) -> Tensor:
        """Return M of one trial: columns for h, for the ones and for x."""
        return torch.cat([weights.U, (weights.b_W + weights.b_U)[:, None], weights.W], 1)

    @abstractmethod
    def step(self, z: Tensor, M: Tensor, before: Tensors, after: Tensors) -> None:
        """Write the states after a step, h first, and the tensors that are saved.

        Args:
            z: the product, (K, gates · H, B); overwritten with what `step_backward` needs.
            M: of all trials.
            before, after: states (K, H, B), and the saved tensors.
        """

    @abstractmethod
    def step_backward(
        self, d: Tensors, z: Tensor, dz: Tensor, M: Tensor, dM: Tensor, before: Tensors, after: Tensors
    ) -> None:
        """Write the gradient with respect to the product into dz.

        Args:
            d: gradients with respect to the states after the step; overwritten with those with respect to the states
                before, without the part through the product. That of h may be left as it is without a skip.
            z, M, before, after: as `step` left them.
            dz: see above.
            dM: accumulates the gradient with respect to M, without the part through the product.
        """


class Elman(Cell):
    """h = f(z), with f = tanh or max(0, ·).

    Args:
        relu: whether f is the latter.
    """

    n_recurrent_blocks = 1

    def __init__(self, relu: bool) -> None:
        self.relu = relu

    def step(self, z: Tensor, M: Tensor, before: Tensors, after: Tensors) -> None:
        if self.relu:
            torch.clamp(z, min=0, out=after[0])
        else:
            tanh(z, out=after[0])

    def step_backward(
        self, d: Tensors, z: Tensor, dz: Tensor, M: Tensor, dM: Tensor, before: Tensors, after: Tensors
    ) -> None:
        if self.relu:
            relu_backward(d[0], after[0], 0, grad_input=dz)
        else:
            tanh_backward(d[0], after[0], grad_input=dz)


class LSTM(Cell):
    """c = f ⊙ c + i ⊙ g and h = o ⊙ tanh(c), with i, f, o = σ(·) and g = tanh(·): rows i, f, o, g."""

    n_recurrent_blocks, n_saved = 4, 1

    def pack_weights(self, weights: Weights) -> Tensor:
        i, f, g, o = super().pack_weights(weights).chunk(4)
        return torch.cat([i, f, o, g])

    def step(self, z: Tensor, M: Tensor, before: Tensors, after: Tensors) -> None:
        i, f, o, g = z.chunk(4, 1)
        z[:, : 3 * i.shape[1]].sigmoid_()
        h, c, tanh_c = after
        torch.mul(f, before[1], out=c).addcmul_(i, tanh(g, out=g))
        torch.mul(o, tanh(c, out=tanh_c), out=h)

    def step_backward(
        self, d: Tensors, z: Tensor, dz: Tensor, M: Tensor, dM: Tensor, before: Tensors, after: Tensors
    ) -> None:
        (i, f, o, g), (di, df, do, dg) = z.chunk(4, 1), dz.chunk(4, 1)
        (dh, dc), tanh_c = d, after[2]
        torch.mul(dh, tanh_c, out=do)
        dc.add_(tanh_backward(dh.mul_(o), tanh_c, grad_input=dh))
        torch.mul(dc, g, out=di)
        torch.mul(dc, before[1], out=df)
        gates = slice(3 * i.shape[1])
        sigmoid_backward(dz[:, gates], z[:, gates], grad_input=dz[:, gates])
        torch.mul(dc, i, out=dg)
        tanh_backward(dg, g, grad_input=dg)
        dc.mul_(f)


class GRU(Cell):
    """r, s = σ(·), n = tanh(r ⊙ u + a), h = n + s ⊙ (h - n): rows r, s, u = U h + b' and a = W x + b."""

    n_recurrent_blocks, has_skip = 3, True

    def pack_weights(self, weights: Weights) -> Tensor:
        W, U, b, b_U, _ = weights
        gates, candidate = slice(2 * U.shape[1]), slice(2 * U.shape[1], None)
        blocks = (
            (U[gates], (b + b_U)[gates, None], W[gates]),
            (U[candidate], b_U[candidate, None], torch.zeros_like(W[candidate])),
            (torch.zeros_like(U[candidate]), b[candidate, None], W[candidate]),
        )
        return torch.cat([torch.cat(block, 1) for block in blocks])

    def step(self, z: Tensor, M: Tensor, before: Tensors, after: Tensors) -> None:
        r, s, u, n = z.chunk(4, 1)
        z[:, : 2 * r.shape[1]].sigmoid_()
        torch.lerp(tanh(n.addcmul_(r, u), out=n), before[0], s, out=after[0])

    def step_backward(
        self, d: Tensors, z: Tensor, dz: Tensor, M: Tensor, dM: Tensor, before: Tensors, after: Tensors
    ) -> None:
        (r, s, _, n), (_, ds, _, dn) = z.chunk(4, 1), dz.chunk(4, 1)
        gates = slice(2 * r.shape[1])
        torch.sub(before[0], n, out=ds).mul_(d[0])
        torch.addcmul(d[0], d[0], s, value=-1, out=dn)
        tanh_backward(dn, n, grad_input=dn)
        self.reset_backward(z, dz, M, before[0])
        sigmoid_backward(dz[:, gates], z[:, gates], grad_input=dz[:, gates])
        d[0].mul_(s)

    def reset_backward(self, z: Tensor, dz: Tensor, M: Tensor, h: Tensor) -> None:
        """Write the gradients of the reset gate, before its sigmoid, and of u from that of the candidate's input."""
        (r, _, u, _), (dr, _, du, dn) = z.chunk(4, 1), dz.chunk(4, 1)
        torch.mul(dn, u, out=dr)
        torch.mul(dn, r, out=du)


class GRUBefore(GRU):
    """As `GRU`, but n = tanh(U (r ⊙ h) + a), all biases in a: r ⊙ h takes the place of u, and U then multiplies it."""

    def pack_weights(self, weights: Weights) -> Tensor:
        return super().pack_weights(weights._replace(b_W=weights.b_W + weights.b_U, b_U=torch.zeros_like(weights.b_U)))

    def step(self, z: Tensor, M: Tensor, before: Tensors, after: Tensors) -> None:
        r, s, u, n = z.chunk(4, 1)
        z[:, : 2 * r.shape[1]].sigmoid_()
        torch.mul(r, before[0], out=u)
        torch.lerp(tanh(n.baddbmm_(self._get_candidate_U(M), u), out=n), before[0], s, out=after[0])

    def step_backward(
        self, d: Tensors, z: Tensor, dz: Tensor, M: Tensor, dM: Tensor, before: Tensors, after: Tensors
    ) -> None:
        super().step_backward(d, z, dz, M, dM, before, after)
        (r, _, u, _), (_, _, du, dn) = z.chunk(4, 1), dz.chunk(4, 1)
        d[0].addcmul_(du, r)
        du.zero_()  # its gradient is in d already, not through the product
        self._get_candidate_U(dM).baddbmm_(dn, u.mT)

    def reset_backward(self, z: Tensor, dz: Tensor, M: Tensor, h: Tensor) -> None:
        (dr, _, du, dn) = dz.chunk(4, 1)
        torch.bmm(self._get_candidate_U(M).mT, dn, out=du)  # by r ⊙ h
        torch.mul(du, h, out=dr)

    @staticmethod
    def _get_candidate_U(M: Tensor) -> Tensor:
        """Return U of the candidate, (K, H, H)."""
        H = M.shape[1] // 4
        return M[:, 2 * H : 3 * H, :H]
