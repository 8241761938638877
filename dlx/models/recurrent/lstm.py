"""Long short-term memory.

S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997; with the forget gate of F. Gers,
J. Schmidhuber, F. Cummins, "Learning to Forget", Neural Computation 12, 2000.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from dlx.models.recurrent import cells
from dlx.models.recurrent.network import RecurrentNetwork
from dlx.types import Count


class LSTM(RecurrentNetwork):
    """c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t and h_t = o_t ⊙ tanh(c_t), with i, f, o = σ(W x_t + U h_{t-1} + b), g = tanh(…).

    Args:
        shape, outputs: of one example, and how many scores.
        forget_bias: of the forget gates at the beginning, so that the cells remember (R. Jozefowicz et al., ICML 2015);
            null leaves torch's random numbers.
        projection: size of h_t = P (o_t ⊙ tanh(c_t)), where it is to be smaller than the cell (H. Sak et al., 2014,
            https://arxiv.org/abs/1402.1128); null for none.
        common: as in `RecurrentNetwork`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        forget_bias: float | None = 1.0,
        projection: Count | None = None,
        **common: Any,
    ) -> None:
        rnn = partial(nn.LSTM, proj_size=projection or 0)
        super().__init__(shape, outputs, rnn=rnn, cell=cells.LSTM, unroll=None, kernel=True, **common)
        for layers in self.layers if forget_bias is not None else ():
            for _, _, b_W, b_U, *_ in layers.rnn.all_weights:  # type: ignore[union-attr]
                with torch.no_grad():  # torch has two biases, which are added
                    b_W.chunk(4)[1].fill_(forget_bias)
                    b_U.chunk(4)[1].zero_()
