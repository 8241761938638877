"""The heads of a neural Turing machine: what a controller tells them, what they read and what they write.

A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401, §3.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from dlx.models.recurrent.ntm.addressing import address_by_content, interpolate, sharpen, shift


class Sizes(NamedTuple):
    """Of heads and memory, in the letters used for shapes; B is the batch."""

    R: int  # heads that read
    W: int  # heads that write
    N: int  # rows of the memory
    M: int  # numbers in a row
    S: int  # shifts that a head may make, odd

    @property
    def H(self) -> int:
        """Heads: first those that read, then those that write."""
        return self.R + self.W

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """Numbers that a controller gives: through tanh, sigmoid, softplus and softmax."""
        _R, W, _, M, S = self
        return (self.H + W) * M, self.H + W * M, 2 * self.H, self.H * S


class HeadParameters(NamedTuple):
    """What a controller tells the heads of one step."""

    k: Tensor  # (B, H, M) keys
    a: Tensor  # (B, W, M) what to add
    g: Tensor  # (B, H, 1) gates: 1 goes by content, 0 from where it was
    e: Tensor  # (B, W, M) what to erase, in [0, 1]
    beta: Tensor  # (B, H, 1) strengths of the keys, at least 0
    gamma: Tensor  # (B, H, 1) how much to sharpen, at least 1
    s: Tensor  # (B, H, S) shares of the shifts


def make_head_parameters(p: Tensor, sizes: Sizes) -> HeadParameters:
    """Bring a controller's numbers p (B, sum(sizes.parts)) into their ranges (§3.3.2).

    Keys and adds are bounded by tanh, which the paper leaves open.
    """
    B, (_, W, _, M, S), H = len(p), sizes, sizes.H
    t, sigma, plus, soft = p.split(sizes.parts, 1)
    t, sigma, plus = t.tanh(), sigma.sigmoid(), F.softplus(plus)
    return HeadParameters(
        k=t[:, : H * M].view(B, H, M),
        a=t[:, H * M :].view(B, W, M),
        g=sigma[:, :H, None],
        e=sigma[:, H:].view(B, W, M),
        beta=plus[:, :H, None],
        gamma=1 + plus[:, H:, None],
        s=soft.view(B, H, S).softmax(2),
    )


def address(head: HeadParameters, memory: Tensor, w: Tensor) -> Tensor:
    """Return the weightings (B, H, N) of memory (B, N, M), going on from those of the step before (§3.3)."""
    w_g = interpolate(address_by_content(head.k, head.beta, memory), w, head.g)
    return sharpen(shift(w_g, head.s), head.gamma)


def read(w: Tensor, memory: Tensor) -> Tensor:
    """Return the rows, weighted (eq. 2): (B, R, M) of w (B, R, N) and memory (B, N, M)."""
    return w @ memory


def write(memory: Tensor, w: Tensor, e: Tensor, a: Tensor) -> Tensor:
    """Return the memory (B, N, M) after all heads erased and then all added (eqs. 3, 4), with w (B, W, N), e and a (B,
    W, M).
    """
    kept = (1 - w[..., None] * e[:, :, None]).prod(1)  # (B, N, M)
    return memory * kept + w.transpose(1, 2) @ a
