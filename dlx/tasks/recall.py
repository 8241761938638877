"""Recall: find a stored pattern by a corrupted copy of it."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Recalling
from dlx.tasks.corruption import Corruption
from dlx.tasks.task import Task, take_inputs
from dlx.types import Count, NonNegative, Positive, Probability

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset

GREY = 0.75  # around what is drawn: patterns are black and white to their edges


class Recall(Task):
    """Make cues of patterns ξ, by flips, masks and noise, and let the memory run from them to a state s.

    `overlap` is m = ⟨s, ξ⟩ / ⟨ξ, ξ⟩, for patterns of ±1 the mean of their products; `error` the part of the units whose
    sign is wrong; `exact` the part of the patterns that come back whole; `energy` that of s. `cue_overlap` and
    `cue_energy` are those of the cue. `sweeps` says how many sweeps over the units changed something, `stable` for
    which part of the cues the memory came to rest.

    A memory is asked for what it stored: by `ask=stored` the training split stands in for the validation and the test
    split, so that all metrics and pictures are of stored patterns. `ask=split` asks for the dataset's own splits, in
    which images were never seen.

    Args:
        flip, mask, noise, seed: of the cues, as in `dlx.tasks.corruption.Corruption`.
        tolerance: how far each unit of an exact recall may be from the pattern.
        ask: for which patterns.
        pictured: how many are drawn above their cues and what was recalled.
    """

    needs: ClassVar[str | None] = None
    monitor = "overlap"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "overlap",
        "exact",
        "error",
        "energy",
        "cue_overlap",
        "cue_energy",
        "sweeps",
        "stable",
    )

    def __init__(
        self,
        flip: Probability = 0.1,
        mask: Probability = 0.0,
        noise: NonNegative = 0.0,
        seed: int = 0,
        tolerance: Positive = 0.01,
        ask: Literal["stored", "split"] = "stored",
        pictured: Count = 10,
    ) -> None:
        self.corrupt = Corruption(flip, mask, noise, seed)
        self.tolerance, self.ask, self.pictured = tolerance, ask, pictured

    def attach(self, dataset: "Dataset") -> None:
        if self.ask == "stored":
            both = ("val", "test")
            dataset.when_read(lambda: dataset.splits.update(dict.fromkeys(both, dataset.splits["train"])))

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        memory = as_memory(model)
        patterns = memory.states(batch.x)
        cues = self.corrupt(patterns, batch.x.shape[1:])
        recalled = memory.recall(cues)
        states = recalled.states.to(patterns.dtype)
        return {
            "overlap": compute_overlaps(states, patterns),
            "exact": (states - patterns).abs().amax(1) <= self.tolerance,
            "error": (states.sign() != patterns.sign()).double().mean(1),
            "energy": memory.energy(states),
            "cue_overlap": compute_overlaps(cues, patterns),
            "cue_energy": memory.energy(cues),
            "sweeps": recalled.sweeps,
            "stable": recalled.stable,
        }

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Recall from x as the cue, (batch, *shape)."""
        memory = as_memory(model)
        return memory.values(memory.recall(memory.states(x)).states)

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return what is recalled from x, (batch, *shape), and its energy, (batch,)."""
        memory = as_memory(model)
        states = memory.recall(memory.states(x)).states
        return {"recalled": memory.values(states), "energy": memory.energy(states)}

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw patterns in the upper row, their cues in the middle, what was recalled below; vectors as squares."""
        from dlx.figures.contact_sheet import Text, draw_columns

        memory, x = as_memory(model), take_inputs(batches, self.pictured)
        patterns = memory.states(x)
        cues = self.corrupt(patterns, x.shape[1:])
        recalled = memory.recall(cues).states.to(patterns.dtype)
        largest = patterns.abs().max().clamp(min=1e-12)
        rows = [(0.5 + states / (2 * largest)).clamp(0, 1).float().cpu() for states in (patterns, cues, recalled)]
        below = [[Text(f"m = {m:.2f}")] for m in compute_overlaps(recalled, patterns).tolist()]
        pictures = [_to_images(row, x.shape[1:]) for row in rows]
        return {"recall": draw_columns(pictures, ("pattern", "cue", "recall"), below, between=GREY)}


def compute_overlaps(states: Tensor, patterns: Tensor) -> Tensor:
    """Compute ⟨s, ξ⟩ / ⟨ξ, ξ⟩, (batch,), of states and patterns (batch, N); 0 for a pattern of zeros."""
    return (states * patterns).sum(1) / patterns.square().sum(1).clamp(min=1e-12)


def as_memory(model: nn.Module) -> Recalling:
    """Return the model, typed as a memory.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(model, Recalling):
        raise UsageError(
            f"task=recall was given the model {type(model).__name__}; needed: one with recall(cues), such as hopfield "
            "or modern_hopfield; type another task= (dlx list tasks)"
        )
    return cast(Recalling, model)


def _to_images(rows: Tensor, shape: torch.Size) -> Tensor:
    """Reshape states (n, N) to images (n, channels, height, width); vectors to squares, filled up with grey."""
    if len(shape) == 3 and shape[0] in (1, 3):
        return rows.view(-1, *shape)
    side = math.ceil(math.sqrt(rows.shape[1]))
    return torch.nn.functional.pad(rows, (0, side**2 - rows.shape[1]), value=0.5).view(-1, 1, side, side)
