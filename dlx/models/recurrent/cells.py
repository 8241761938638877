"""One step of each recurrent layer, written as its equations.

x_t enters as a = W x_t + b, computed for all steps in one product before the first of them; what is left to a step is
the product with h_{t-1}. σ is the logistic function, ⊙ the product element by element. Weights stand in torch's order
of gates, so that they are those of nn.RNN, nn.GRU and nn.LSTM, whose kernels give the same numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dlx.models.recurrent.batch_norm import StepNorms, TimeStep

State = tuple[Tensor, ...]  # h (batch, size), and what else a layer remembers
Cell = Callable[[Tensor, State, TimeStep | None], State]  # a (batch, gates · hidden), the state before, where in time


class Weights(NamedTuple):
    """Weights of one layer in one direction, as torch names and orders them."""

    W: Tensor  # weight_ih, (gates · hidden, inputs)
    U: Tensor  # weight_hh, (gates · hidden, size)
    b_W: Tensor  # bias_ih, (gates · hidden,)
    b_U: Tensor  # bias_hh, (gates · hidden,)
    P: Tensor | None = None  # weight_hr, (size, hidden): the projection of an LSTM


class _Recurrence:
    """U h_{t-1} + b, where a recurrent batch normalization may stand around the product."""

    def __init__(self, weights: Weights, norms: StepNorms | None) -> None:
        self.U, self.b, self.norms = weights.U, weights.b_U, norms

    def __call__(self, h: Tensor, step: TimeStep | None) -> Tensor:
        if self.norms is None or step is None:
            return F.linear(h, self.U, self.b)
        result: Tensor = self.norms.hidden(F.linear(h, self.U), step) + self.b
        return result


class Elman:
    """h_t = f(W x_t + b + U h_{t-1} + b'), with f = tanh or max(0, ·)."""

    def __init__(self, weights: Weights, norms: StepNorms | None = None, f: Callable[[Tensor], Tensor] = torch.tanh):
        self.recurrence, self.f = _Recurrence(weights, norms), f

    def __call__(self, a: Tensor, state: State, step: TimeStep | None = None) -> State:
        (h,) = state
        return (self.f(a + self.recurrence(h, step)),)


class LSTM:
    """i, f, o = σ(W x_t + b + U h_{t-1} + b') and g = tanh(…), each with its own rows of W, U, b and b'.

    c_t = f ⊙ c_{t-1} + i ⊙ g,  h_t = o ⊙ tanh(c_t): i decides whether to write to the cell, g what, f whether to erase
    it, and o how much of it to reveal. With a projection, h_t = P (o ⊙ tanh(c_t)).
    """

    def __init__(self, weights: Weights, norms: StepNorms | None = None) -> None:
        self.recurrence, self.P, self.norms = _Recurrence(weights, norms), weights.P, norms

    def __call__(self, a: Tensor, state: State, step: TimeStep | None = None) -> State:
        h, c = state
        i, f, g, o = (a + self.recurrence(h, step)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        shown = c if self.norms is None or step is None else self.norms.cell(c, step)
        h = o.sigmoid() * shown.tanh()
        return (h if self.P is None else F.linear(h, self.P)), c


class GRU:
    """r, z = σ(W x_t + b + U h_{t-1} + b') and n = tanh(W x_t + b + r ⊙ (U h_{t-1} + b')), each with its own rows.

    h_t = z ⊙ h_{t-1} + (1 - z) ⊙ n: z decides how much of the past is passed along, r how much of it the candidate n
    forgets. r is applied after the product (`reset_after`), as in cuDNN and torch.
    """

    def __init__(self, weights: Weights, norms: StepNorms | None = None) -> None:
        self.recurrence = _Recurrence(weights, norms)

    def __call__(self, a: Tensor, state: State, step: TimeStep | None = None) -> State:
        (h,) = state
        a_r, a_z, a_n = a.chunk(3, 1)
        u_r, u_z, u_n = self.recurrence(h, step).chunk(3, 1)
        r, z = (a_r + u_r).sigmoid(), (a_z + u_z).sigmoid()
        n = (a_n + r * u_n).tanh()
        return (n + z * (h - n),)


class GRUResetBefore:
    """As `GRU`, but n = tanh(W x_t + b + U (r ⊙ h_{t-1}) + b'): the reset gate before the product (Cho et al. 2014)."""

    def __init__(self, weights: Weights, norms: None = None) -> None:
        H = weights.U.shape[1]
        (self.U_rz, self.U_n), (self.b_rz, self.b_n) = (w.split((2 * H, H)) for w in (weights.U, weights.b_U))

    def __call__(self, a: Tensor, state: State, step: TimeStep | None = None) -> State:
        (h,) = state
        a_rz, a_n = a.split((len(self.b_rz), len(self.b_n)), 1)
        r, z = (a_rz + F.linear(h, self.U_rz, self.b_rz)).sigmoid().chunk(2, 1)
        n = (a_n + F.linear(r * h, self.U_n, self.b_n)).tanh()
        return (n + z * (h - n),)


CellFactory = Callable[..., Any]  # of a cell, from the weights of one layer in one direction and its norms
