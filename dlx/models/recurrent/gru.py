"""The gated recurrent unit.

K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation", 2014,
https://arxiv.org/abs/1406.1078; J. Chung et al., 2014, https://arxiv.org/abs/1412.3555.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from dlx.errors import UsageError
from dlx.models.recurrent import bptt, cells
from dlx.models.recurrent.network import RecurrentNetwork
from dlx.types import Count


class GRU(RecurrentNetwork):
    """h_t = z_t ⊙ h_{t-1} + (1 - z_t) ⊙ h'_t: the update gate z says how much of the past is passed along.

    r_t, z_t = σ(W x_t + U h_{t-1}), each with its own W and U, and the candidate h'_t = tanh(W x_t + r_t ⊙ U h_{t-1}),
    in which the reset gate r forgets. The biases are left out here. Cho et al. write z for our 1 - z.

    Args:
        shape, outputs: of one example, and how many scores.
        reset_after: the reset gate after the product with U, as above, in cuDNN and in torch; false puts it before,
            h'_t = tanh(W x_t + U (r_t ⊙ h_{t-1})), as in the paper; no kernel computes that.
        common: as in `RecurrentNetwork`.

    Raises:
        UsageError: recurrent batch normalization of the paper's form, whose products are not all of the same h.
    """

    def __init__(self, shape: Sequence[int], outputs: Count, reset_after: bool = True, **common: Any) -> None:
        if not reset_after and common.get("batch_norm") == "recurrent":
            raise UsageError(
                "model.batch_norm=recurrent was given with model.reset_after=false; needed: one of them; "
                "type model.reset_after=true, or model.batch_norm=layers"
            )
        cell = cells.GRU if reset_after else cells.GRUResetBefore
        unroll = partial(bptt.gru, after=reset_after)
        super().__init__(shape, outputs, rnn=nn.GRU, cell=cell, unroll=unroll, kernel=reset_after, **common)
