"""Annotations that carry a range, so that a constructor's signature is also the schema of its configuration.

`dlx.config.static.signature` reads them from the source text; nothing here imports torch.
"""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `open_low` and `open_high` leave the end itself out."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether `value` lies within; NaN never does."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"more than {self.low:g}" if self.open_low else f"at least {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {left}{_format(self.low)}, {_format(self.high)}{right}"


def _format(number: float) -> str:
    """Write a whole number with all its digits, any other with six."""
    return str(number) if isinstance(number, int) else f"{number:g}"


Count = Annotated[int, Range(1)]  # 1, 2, 3, ...
Natural = Annotated[int, Range(0)]  # 0, 1, 2, ...
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1)]
Fraction = Annotated[float, Range(0, 1, open_high=True)]  # a part that may be nothing, never all
