"""Dynamic N-grams: to learn a random source of bits while reading it, and how well that can be done at all.

A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401, §4.4. The optimal
estimator: K. Murphy, "Machine Learning: A Probabilistic Perspective", 2012, §3.3 (their eq. 10).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlx.datasets.splits import Split
from dlx.datasets.synthetic.algorithmic import Algorithmic, draw_bits
from dlx.errors import UsageError
from dlx.types import Count


class DynamicNgrams(Algorithmic):
    """Bits of a source that is drawn anew for each sequence, each to be told from those before it.

    The source is a table: after each of the 2^context possible contexts, 1 has a probability drawn from
    Beta(½, ½). Bits before the first full context are even, and not asked for.

    Args:
        length: bits of a sequence.
        context: bits that the next one depends on; 5 make 6-grams.
        common: as in `Algorithmic`.

    Raises:
        UsageError: the sequence is no longer than its context.
    """

    def __init__(self, length: Count = 200, context: Count = 5, **common: Any) -> None:
        super().__init__(**common)
        if length <= context:
            raise UsageError(
                f"dataset.length={length} was given; needed: more than the context; type dataset.length={context + 1}"
            )
        self.length, self.context = length, context
        self.shape, self.outputs = (length - 1, 1), 1

    def make(self, n: int, generator: torch.Generator) -> Split:
        C, device = self.context, generator.device
        # The distribution function of Beta(½, ½) is 2/π arcsin √p.
        table = (torch.rand(n, 2**C, generator=generator, device=device) * (math.pi / 2)).sin().square()
        sequence = draw_bits(n, C, 1, generator)[..., 0].long()
        chance = torch.rand(n, self.length - C, generator=generator, device=device)
        place = (sequence << torch.arange(C - 1, -1, -1, device=device)).sum(1, keepdim=True)  # the oldest bit highest
        drawn = [sequence]
        for t in range(self.length - C):
            bit = (chance[:, t : t + 1] < table.gather(1, place)).long()
            place = (place << 1 | bit) & (2**C - 1)
            drawn.append(bit)
        x = torch.cat(drawn, 1)[..., None].float()  # (n, length, 1)
        y = x[:, 1:].clone()
        y[:, : C - 1] = -1
        return Split(x[:, :-1].contiguous(), y)

    def optimal(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the nats of each sequence that the best possible estimator pays, (n,): no model pays less on average.

        After a context that was followed N1 times by 1 and N0 times by 0, it gives 1 the probability
        (N1 + ½) / (N1 + N0 + 1), the mean of the source's posterior.

        Args:
            x: (n, T, 1), as `make` gives them.
            y: (n, T, 1), what to tell; -1 where it is not asked.
        """
        C, given = self.context, x[..., 0].long()
        windows = given.unfold(1, C, 1)  # (n, T - C + 1, C): what each asked bit comes after
        places = (windows << torch.arange(C - 1, -1, -1, device=x.device)).sum(2)
        target = y[:, C - 1 :, 0].double()  # (n, T - C + 1)
        seen = F.one_hot(places, 2**C).double()
        ones = (seen * target[..., None]).cumsum(1) - seen * target[..., None]  # before each step
        counts = seen.cumsum(1) - seen
        N1, N = ((table * seen).sum(2) for table in (ones, counts))
        p = (N1 + 0.5) / (N + 1)
        return -(target * p.log() + (1 - target) * (1 - p).log()).sum(1)
