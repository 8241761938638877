"""Keras's schedules of the learning rate, in closed form: the rate after n steps of the schedule.

What is a step is for `interval` to say: an update or an epoch. Each begins at the optimizer's own rate.
I. Loshchilov, F. Hutter, 2016, https://arxiv.org/abs/1608.03983 (cosine, restarts); P. Goyal et al., 2017,
https://arxiv.org/abs/1706.02677, §2.2 (warm-up).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from dlx.errors import UsageError
from dlx.types import Count, Fraction, Natural, NonNegative, Positive, Probability


class _ClosedForm(LRScheduler):
    """A schedule whose rate depends on the number of steps alone."""

    def get_lr(self) -> list[Any]:
        """Return the rate of each parameter group."""
        return [self.rate(float(base), self.last_epoch) for base in self.base_lrs]

    def rate(self, base: float, step: int) -> float:
        """Return the rate after so many steps.

        Args:
            base: the optimizer's own rate.
            step: how many.
        """
        raise NotImplementedError


class ExponentialDecay(_ClosedForm):
    """lr · rate^(n / steps).

    Args:
        optimizer: what is scheduled.
        decay_steps: steps after which the rate was multiplied by `decay_rate` once.
        decay_rate: the factor.
        staircase: only whole multiples count.
        last_epoch: as in torch's schedulers.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        decay_steps: Count,
        decay_rate: Positive = 0.96,
        staircase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.decay_steps, self.decay_rate, self.staircase = decay_steps, decay_rate, staircase
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int) -> float:
        part = step / self.decay_steps
        return float(base * self.decay_rate ** (math.floor(part) if self.staircase else part))


class InverseTimeDecay(ExponentialDecay):
    """lr / (1 + rate · n / steps), with the arguments of `ExponentialDecay`."""

    def rate(self, base: float, step: int) -> float:
        part = step / self.decay_steps
        return base / (1 + self.decay_rate * (math.floor(part) if self.staircase else part))


class PolynomialDecay(_ClosedForm):
    """(lr - end) (1 - n / steps)^power + end.

    Args:
        optimizer: what is scheduled.
        decay_steps: steps until `end`.
        end: the last rate; it stays.
        power: 1 for a line.
        cycle: begin anew from above instead, with twice, three times, … as many steps.
        last_epoch: as in torch's schedulers.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        decay_steps: Count,
        end: NonNegative = 1e-4,
        power: Positive = 1.0,
        cycle: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.decay_steps, self.end, self.power, self.cycle = decay_steps, end, power, cycle
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int) -> float:
        steps = self.decay_steps * (max(math.ceil(step / self.decay_steps), 1) if self.cycle else 1)
        left = 1 - min(step, steps) / steps
        return float((base - self.end) * left**self.power + self.end)


class PiecewiseConstantDecay(_ClosedForm):
    """values[0] until boundaries[0], inclusive, then values[1], and so on; the optimizer's own rate is not used.

    Args:
        optimizer: what is scheduled.
        boundaries: steps, rising.
        values: the rates, one more than boundaries.
        last_epoch: as in torch's schedulers.

    Raises:
        UsageError: the numbers do not fit.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        boundaries: Sequence[Natural],
        values: Sequence[NonNegative],
        last_epoch: int = -1,
    ) -> None:
        if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(set(boundaries)):
            raise UsageError(
                f"boundaries {list(boundaries)} and values {list(values)} were given; needed: boundaries that rise, "
                "and one value more than these"
            )
        self.boundaries, self.values = list(boundaries), list(values)
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int) -> float:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class CosineRestarts(_ClosedForm):
    """Half a cosine from lr down to alpha · lr, again and again.

    Args:
        optimizer: what is scheduled.
        first_decay_steps: steps of the first way down.
        t_mul: each way down takes so many times the steps of the one before.
        m_mul: and begins at so many times its rate.
        alpha: the lowest rate, as a part of the optimizer's own.
        last_epoch: as in torch's schedulers.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        first_decay_steps: Count,
        t_mul: Positive = 2.0,
        m_mul: Positive = 1.0,
        alpha: Probability = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if t_mul < 1:
            raise UsageError(f"t_mul {t_mul:g} was given; needed: at least 1")
        self.first_decay_steps, self.t_mul, self.m_mul, self.alpha = first_decay_steps, t_mul, m_mul, alpha
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int) -> float:
        left, length, restarts = float(step), float(self.first_decay_steps), 0
        while left >= length:
            left, length, restarts = left - length, length * self.t_mul, restarts + 1
        wave = 0.5 * self.m_mul**restarts * (1 + math.cos(math.pi * left / length))
        return base * ((1 - self.alpha) * wave + self.alpha)


class Warmup(_ClosedForm):
    """A line from first · lr up to lr, and then half a cosine down to alpha · lr, or lr for good.

    Args:
        optimizer: what is scheduled.
        warmup: steps on the way up.
        total: steps until the lowest rate, those of the way up included; None keeps lr.
        first: where the line begins, as a part of lr; a way up from 0 wastes the first step.
        alpha: the lowest rate, as a part of lr.
        last_epoch: as in torch's schedulers.

    Raises:
        UsageError: the way up takes longer than the whole.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup: Natural = 5,
        total: Count | None = None,
        first: Fraction = 0.1,
        alpha: Probability = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if total is not None and total <= warmup:
            raise UsageError(
                f"scheduler.warmup={warmup} and scheduler.total={total} were given; needed: more in total; type "
                "scheduler.warmup=1, or scheduler.total=null to keep the rate"
            )
        self.warmup, self.total, self.first, self.alpha = warmup, total, first, alpha
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int) -> float:
        if step < self.warmup:
            return base * (self.first + (1 - self.first) * step / self.warmup)
        if self.total is None:
            return base
        part = min((step - self.warmup) / (self.total - self.warmup), 1.0)
        return base * ((1 - self.alpha) * 0.5 * (1 + math.cos(math.pi * part)) + self.alpha)
