"""The Jordan network, which remembers what it answered.

M. I. Jordan, "Serial Order: A Parallel Distributed Processing Approach", ICS report 8604, UC San Diego, 1986.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dlx.models.exported_loop import is_exporting, scan
from dlx.models.recurrent.network import SequenceModel, last_step
from dlx.types import Count, Fraction

FEEDBACK = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda scores: scores.softmax(1),
    "linear": lambda scores: scores,
}


class Jordan(SequenceModel):
    """h_t = tanh(W x_t + U s_t + b), scores V h_t + c, and the context s_{t+1} = α s_t + g(V h_t + c), from s_1 = 0.

    What comes back is the network's own answer, in learning as in use; it is never replaced by the target of the step
    before (teacher forcing), so that what is learned is what is measured.

    Args:
        shape, outputs, symbols, embedding, input_dropout: as in `SequenceModel`.
        hidden: units.
        feedback: g, what the scores are on their way back.
        decay: α, of the context units' own past (Jordan's self-recurrent state units).
        dropout: part of the hidden units that the scores do not see while learning.
        weights: as in `WeightedModel`; the context's weights are a kernel too.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Count,
        symbols: Count | None = None,
        embedding: Count | None = 64,
        hidden: Count = 128,
        feedback: Literal["sigmoid", "tanh", "softmax", "linear"] = "sigmoid",
        decay: Fraction = 0.0,
        dropout: Fraction = 0.0,
        input_dropout: Fraction = 0.0,
        **weights: Any,
    ) -> None:
        super().__init__(shape, outputs, symbols, embedding, input_dropout, **weights)
        self.feedback, self.decay = FEEDBACK[feedback], decay
        self.input, self.context = nn.Linear(self.inputs, hidden), nn.Linear(outputs, hidden, bias=False)
        self.readout = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)
        self.apply_weight_settings()

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return last_step(self.steps(x, lengths)[0], lengths)

    def step(self, s: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next context (batch, outputs), the scores, and h, of the context and a = W x_t + b."""
        h = torch.tanh(a + self.context(s))
        y = self.readout(self.dropout(h))
        fed: Tensor = self.feedback(y)  # type: ignore[no-untyped-call]
        return fed + self.decay * s if self.decay else fed, y, h

    def steps(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        s = self.readout.weight.new_zeros(x.shape[0], self.outputs) if state is None else state
        entering = self.input(self.embed(x))  # one product for all steps
        if is_exporting():
            s, scores_in_time = scan(self._scanned_step, s, entering.transpose(0, 1).contiguous())
            return scores_in_time.transpose(0, 1), s
        hidden, scores = [], []
        for a in torch.unbind(entering, 1):
            s, y, h = self.step(s, a)
            hidden.append((h,))
            scores.append(y)
        if self.tracing is not None:
            self.tracing.add(hidden)
        self.penalize_activity(*[h for (h,) in hidden])
        return torch.stack(scores, 1), s

    def _scanned_step(self, s: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        after, y, _ = self.step(s, a)
        return after.clone(), y.clone()
