"""Transduction: binary vectors in, binary vectors out, as in the tasks of the neural Turing machine."""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.metrics import Metric
from dlx.models.interfaces import Traceable
from dlx.tasks.steps import Steps, StepTask, as_step_model
from dlx.tasks.task import require_labels

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset


class Transduction(StepTask):
    """Models give scores (batch, T, outputs) of bits; targets are 0, 1, or -1 where no answer is asked.

    A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401, §4: the cost is
    given in bits per sequence, and an answer is wrong where its probability lies on the wrong side of one half.

    Where the dataset knows what the best possible answers cost (has `optimal(x, y)`, nats of each sequence), that
    stands beside what the model's cost.
    """

    needs: ClassVar[str | None] = None
    monitor = "bits_per_sequence"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "bits_per_sequence",
        "optimal_bits_per_sequence",
        "bit_errors_per_sequence",
        "error",
        "sequence_error",
    )
    optimal: Callable[[Tensor, Tensor], Tensor] | None = None

    def attach(self, dataset: "Dataset") -> None:
        super().attach(dataset)
        self.optimal = getattr(dataset, "optimal", None)

    def pairs(self, batch: Batch) -> Steps:
        y = require_labels(batch)
        return Steps(batch.x, y, (y >= 0).any(2), batch.lengths)

    def costs(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return the nats of each step, (batch, T)."""
        asked = y >= 0
        bits = F.binary_cross_entropy_with_logits(scores, y.clamp(min=0).to(scores.dtype), reduction="none")
        return bits.where(asked, 0).sum(2)

    def counted(self, scores: Tensor, steps: Steps) -> dict[str, Tensor]:
        asked = steps.y >= 0
        wrong = ((scores > 0) != (steps.y > 0.5)) & asked
        counted = super().counted(scores, steps)
        if self.optimal is not None:
            counted["optimal"] = self.optimal(steps.x, steps.y)
        return {**counted, "wrong": wrong.sum((1, 2)), "bits": asked.sum((1, 2)), "spoilt": wrong.any(2).any(1)}

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        bits = {"bits_per_sequence": float(means["cost"]) / math.log(2)}
        if "optimal" in means:
            bits["optimal_bits_per_sequence"] = float(means["optimal"]) / math.log(2)
        return {
            **super().finish(means),
            **bits,
            "bit_errors_per_sequence": float(means["wrong"]),
            "error": float(means["wrong"] / means["bits"]),
            "sequence_error": float(means["spoilt"]),
        }

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return bits, (batch, T, outputs)."""
        return (as_step_model(model).steps(x)[0] > 0).to(torch.float32)

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw the longest sequence of the first batches: inputs, targets and outputs.

        Below stand the tables (rows, T), by name, that a model with `trace(x)` gives of one sequence x.
        """
        from dlx.figures.panels import mask_negative, plot_panels

        batch = max(islice(batches, 16), key=lambda batch: batch.x.shape[1])
        steps = self.pairs(batch).cut(0, int(batch.lengths[0]) if batch.lengths is not None else batch.x.shape[1])
        x, y = steps.x[0], steps.y[0].float()
        scores = as_step_model(model).steps(x[None])[0][0]
        outputs = scores.sigmoid().float().where(y >= 0, torch.nan)
        shown = {"inputs": x.float().T, "targets": mask_negative(y), "outputs": outputs.T}
        return {"sequence": plot_panels({**shown, **(model.trace(x) if isinstance(model, Traceable) else {})})}
