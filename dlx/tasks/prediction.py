"""Prediction of the next step of a sequence, in nats per step, and in bits."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.datasets.images import input_range
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Bidirectional
from dlx.tasks.steps import Steps, StepTask, as_step_model, sequence_mask

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset


class Prediction(StepTask):
    """Models read steps 1, …, T-1 and give scores of steps 2, …, T.

    What a step costs is its negative log-probability: of one symbol among `classes` (softmax), or, where steps are
    vectors of zeros and ones such as the notes of a chord, of all of them together (sigmoids; N. Boulanger-Lewandowski
    et al. 2012, https://arxiv.org/abs/1206.6392). For steps of real numbers it is their mean squared error: the loss
    is that of the scaled values, while `mse`, `rmse` and predictions are in the units of the data. The first step is
    not predicted: nothing is known of it.

    Args:
        cost: `auto` goes by the data: cross-entropy for symbols, the Bernoulli cost for bits and the intensities of
            pixels, the squared error for other numbers.
    """

    needs: ClassVar[str | None] = None
    forwards: ClassVar[bool] = True  # a model must not have read the step that it predicts
    monitor = "loss"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "nats_per_step",
        "bits_per_step",
        "nats_per_next_step",
        "perplexity",
        "accuracy",
        "mse",
        "rmse",
    )

    def __init__(self, cost: Literal["auto", "cross_entropy", "bernoulli", "mse"] = "auto") -> None:
        self.cost = cost
        self.dataset: Dataset | None = None  # its scaling is undone, where steps are real numbers

    def attach(self, dataset: "Dataset") -> None:
        super().attach(dataset)
        symbols = dataset.kind == "symbols"
        if self.cost == "auto":
            self.cost = (
                "cross_entropy" if symbols else "bernoulli" if input_range.holds_probabilities(dataset) else "mse"
            )
        if (self.cost == "cross_entropy") != symbols:
            held = "symbols" if symbols else "vectors"
            raise UsageError(f"task.cost={self.cost} was given; {dataset.source} holds {held}; type task.cost=auto")
        self.dataset = dataset if self.cost == "mse" else None
        x = input_range.sample_inputs(dataset) if self.cost == "bernoulli" else None
        if x is not None and not input_range.is_in_unit_interval(x):
            raise UsageError(
                f"task.cost=bernoulli was given; {dataset.source} holds values from {float(x.min()):.3g} to "
                f"{float(x.max()):.3g}; needed: from 0 to 1; type task.cost=mse"
            )

    def validate_model(self, model: nn.Module) -> None:
        super().validate_model(model)
        if isinstance(model, Bidirectional) and model.bidirectional:
            raise UsageError(
                "task=prediction was given a model that reads sequences from both ends, and so the step that it is to "
                "tell; needed: one that reads forwards; type model.bidirectional=false, or task=tagging"
            )
        outputs, symbols, shape = (getattr(model, name, None) for name in ("outputs", "symbols", "shape"))
        size = symbols or (shape[-1] if shape else outputs)
        if outputs != size:  # they are for labels, which play no part here
            raise UsageError(
                f"task=prediction was given a model of {outputs} outputs; needed: {size}, one for each "
                f"{'symbol' if symbols else 'value of a step'}; type model.outputs={size}"
            )

    def pairs(self, batch: Batch) -> Steps:
        if batch.x.shape[1] == 1:  # nothing follows: the step is there to be read, and no answer counts
            none = torch.zeros(len(batch.x), dtype=torch.int64, device=batch.x.device)
            return Steps(batch.x, batch.x, sequence_mask(none, batch.x), none)
        x, y = batch.x[:, :-1], batch.x[:, 1:]
        lengths = None if batch.lengths is None else (batch.lengths - 1).clamp(min=0)
        return Steps(x, y, sequence_mask(lengths, x), lengths)

    def costs(self, scores: Tensor, y: Tensor) -> Tensor:
        if self.cost == "cross_entropy":
            return F.cross_entropy(scores.transpose(1, 2), y, reduction="none")
        if self.cost == "mse":
            return (scores - y).square().mean(2)
        return F.binary_cross_entropy_with_logits(scores, y.to(scores.dtype), reduction="none").sum(2)

    def _to_data_units(self, values: Tensor) -> Tensor:
        """Undo the dataset's scaling of values (batch, T, n); float64 where the device has it."""
        return values if self.dataset is None else self.dataset.inverse_transform(values)

    def counted(self, scores: Tensor, steps: Steps) -> dict[str, Tensor]:
        counted = super().counted(scores, steps)
        if self.cost == "mse":
            error = self._to_data_units(scores) - self._to_data_units(steps.y)
            counted["squared"] = error.square().mean(2).where(steps.counts, 0).sum(1)
        if self.cost == "cross_entropy":
            counted["right"] = ((scores.argmax(2) == steps.y) & steps.counts).sum(1)
        return counted

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        final = super().finish(means)
        if self.cost == "mse":
            mse = float(means["squared"] / means["steps"])
            return {**final, "mse": mse, "rmse": math.sqrt(mse)}
        final |= {"nats_per_step": final["loss"], "bits_per_step": final["loss"] / math.log(2)}
        final["nats_per_next_step"] = final["loss"]  # a hidden Markov model's name for it: one curve for both
        if self.cost == "cross_entropy":
            final["perplexity"] = math.exp(min(final["loss"], 700))
            final["accuracy"] = float(means["right"] / means["steps"])
        return final

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the likeliest next symbol after each step, (batch, T); else probabilities or values (batch, T, n).

        Values are in the units of the data.
        """
        scores, _ = as_step_model(model).steps(x)
        if self.cost == "cross_entropy":
            return scores.argmax(2)
        return self._to_data_units(scores) if self.cost == "mse" else scores.sigmoid()
