"""The simple recurrent network.

J. L. Elman, "Finding Structure in Time", Cognitive Science 14, 1990, https://doi.org/10.1207/s15516709cog1402_1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from dlx.models.recurrent import bptt, cells
from dlx.models.recurrent.network import RecurrentNetwork
from dlx.types import Count


class Elman(RecurrentNetwork):
    """h_t = f(W x_t + b + U h_{t-1} + b'), and scores V h_t + c.

    Args:
        shape, outputs: of one example, and how many scores.
        nonlinearity: f, `tanh` or `relu`.
        common: as in `RecurrentNetwork`.
    """

    def __init__(
        self, shape: Sequence[int], outputs: Count, nonlinearity: Literal["tanh", "relu"] = "tanh", **common: Any
    ) -> None:
        relu = nonlinearity == "relu"
        super().__init__(
            shape,
            outputs,
            rnn=partial(nn.RNN, nonlinearity=nonlinearity),
            cell=partial(cells.Elman, f=torch.relu if relu else torch.tanh),
            unroll=partial(bptt.elman, relu=relu),
            kernel=True,
            **common,
        )
