"""Controllers of a neural Turing machine: one step forward, and the gradient of that step.

Each takes its inputs as z = W x_t + b + U [r_{t-1}, h_{t-1}], with r the vectors read, and gives h_t.
"""

from typing import Protocol

import torch
from torch import Tensor

tanh_backward = torch.ops.aten.tanh_backward  # d (1 - y²), of y = tanh x
sigmoid_backward = torch.ops.aten.sigmoid_backward  # d y (1 - y), of y = σ(x)

Tensors = tuple[Tensor, ...]


class Controller(Protocol):
    """A controller without its weights."""

    gates: int  # parts of z
    states: int  # tensors that it remembers, (B, hidden) each: none, or h and others; with h, U reads it too

    def step(self, z: Tensor, state: Tensors) -> tuple[Tensor, Tensors, Tensors]:
        """Return h (B, hidden) and the next state of z (B, gates · hidden), and what `backward` needs to know."""

    def backward(self, dh: Tensor, d: Tensors, known: Tensors) -> tuple[Tensor, Tensors]:
        """Return the gradients by z, and by the state before, but for its h.

        Args:
            dh: the gradient by h, through all that reads it.
            d: by the rest of the state after the step.
            known: from `step`.
        """


class FeedForward:
    """h_t = tanh(z_t): what it knows of earlier steps, it has read."""

    gates, states = 1, 0

    def step(self, z: Tensor, state: Tensors) -> tuple[Tensor, Tensors, Tensors]:
        h = z.tanh()
        return h, (), (h,)

    def backward(self, dh: Tensor, d: Tensors, known: Tensors) -> tuple[Tensor, Tensors]:
        return tanh_backward(dh, known[0]), ()


class LSTM:
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t), with i, f, o = σ(…), g = tanh(…) of the parts of z_t, as torch's."""

    gates, states = 4, 2

    def step(self, z: Tensor, state: Tensors) -> tuple[Tensor, Tensors, Tensors]:
        i, f, g, o = z.chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * state[1] + i * g
        tanh_c = c.tanh()
        h = o * tanh_c
        return h, (h, c), (i, f, g, o, state[1], tanh_c)

    def backward(self, dh: Tensor, d: Tensors, known: Tensors) -> tuple[Tensor, Tensors]:
        i, f, g, o, c, tanh_c = known
        dc = d[0] + tanh_backward(dh * o, tanh_c)
        dz = (
            sigmoid_backward(dc * g, i),
            sigmoid_backward(dc * c, f),
            tanh_backward(dc * i, g),
            sigmoid_backward(dh * tanh_c, o),
        )
        return torch.cat(dz, 1), (dc * f,)


CONTROLLERS: dict[str, Controller] = {"feedforward": FeedForward(), "lstm": LSTM()}
