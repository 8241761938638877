"""Capacity: how many patterns a memory holds before it forgets them."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import CapacityTheory, Storing
from dlx.tasks.recall import Recall, as_memory, compute_overlaps
from dlx.types import Count, NonNegative, Positive, Probability


class Capacity(Recall):
    """As `recall`, and the mean overlap for each of several loads: `overlap_at_0.138` and so on, and as a curve.

    The load is the number of stored patterns over that of the units. For each, an empty memory of the same kind stores
    the first patterns of the split and is asked for all of them. Where the model knows what to expect (`theory()`), it
    is drawn too.

    Args:
        loads: to be measured.
        flip, mask, noise, seed, tolerance, ask, pictured: as in `dlx.tasks.recall.Recall`; without flips, masks and
            noise the patterns themselves are the cues: what is measured is how far each is from the next stable state.
    """

    declares: ClassVar[tuple[str | Metric, ...]] = ("overlap_at_*",)

    def __init__(
        self,
        loads: Sequence[float] = (0.05, 0.1, 0.138, 0.15, 0.18),
        flip: Probability = 0.0,
        mask: Probability = 0.0,
        noise: NonNegative = 0.0,
        seed: int = 0,
        tolerance: Positive = 0.01,
        ask: Literal["stored", "split"] = "stored",
        pictured: Count = 10,
    ) -> None:
        super().__init__(flip, mask, noise, seed, tolerance, ask, pictured)
        self.loads = list(loads)
        self.curve: list[float] = []  # overlaps at the loads

    def split_metrics(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Measure the mean overlap at each load.

        Raises:
            UsageError: the split has too few patterns for the largest load.
        """
        x = torch.cat([batch.x for batch in batches])
        units = x[0].numel()
        counts = [round(load * units) for load in self.loads]
        if min(counts) < 1 or max(counts) > len(x):
            raise UsageError(
                f"task.loads={self.loads} of {units} units need from {min(counts)} to {max(counts)} patterns; "
                f"there are {len(x)}; type dataset.patterns={max(counts)}, or other loads"
            )
        self.curve = [self._measure_overlap(model, x[:patterns]) for patterns in counts]
        return {f"overlap_at_{load:g}": overlap for load, overlap in zip(self.loads, self.curve, strict=True)}

    def _measure_overlap(self, model: nn.Module, x: Tensor) -> float:
        empty = copy.deepcopy(model)
        memory = as_memory(empty)
        if not isinstance(empty, Storing):
            raise UsageError(
                f"task=capacity was given the model {type(model).__name__}; needed: one that stores patterns, such as "
                "hopfield; type another task= (dlx list tasks)"
            )
        empty.store(empty.gather({}, x))
        patterns = memory.states(x)
        recalled = memory.recall(self.corrupt(patterns, x.shape[1:])).states
        return float(compute_overlaps(recalled.to(patterns.dtype), patterns).double().mean())

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw what `recall` does, and the curve of overlaps."""
        from dlx.figures.figures import plot_lines

        if not self.curve:
            self.split_metrics(model, batches)
        order = sorted(range(len(self.loads)), key=lambda k: self.loads[k])
        curves: dict[str, tuple[Any, Any]] = {
            "simulated": ([self.loads[k] for k in order], [self.curve[k] for k in order])
        }
        expected = model.theory() if isinstance(model, CapacityTheory) else None
        if expected is not None:
            curves["N → ∞ (Amit, Gutfreund, Sompolinsky 1985)"] = expected
        across, up = "load: patterns / units", "mean overlap with the stored pattern"
        figure = plot_lines(curves, "How much is still known", across, up, points=["simulated"])
        return {**super().pictures(model, batches), "capacity": figure}
