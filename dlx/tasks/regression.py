"""Regression: numbers for each example."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.metrics import Metric
from dlx.tasks.task import Task, forward_batch, require_labels

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset
    from dlx.tasks.scores import Report


class Regression(Task):
    """Models give predictions, (batch, outputs) or (batch,); `r2` is the coefficient of determination.

    Where the dataset standardises its targets, the loss is that of the standardised ones; everything else is in the
    units of the data. With several outputs `r2` is their plain average, as in scikit-learn's `r2_score`.

    Args:
        loss: what is minimised: squared error, absolute error, or Huber's (1964) with its bend at 1.
    """

    needs: ClassVar[str | None] = "targets"
    monitor = "r2"
    declares: ClassVar[tuple[str | Metric, ...]] = ("loss", "mse", "rmse", "mae", "median_absolute_error", "r2")

    def __init__(self, loss: Literal["mse", "mae", "huber"] = "mse") -> None:
        self.kind = loss
        self.mean, self.std = torch.zeros(1), torch.ones(1)  # (outputs,) of standardised targets

    def attach(self, dataset: "Dataset") -> None:
        super().attach(dataset)
        if dataset.target_mean is not None and dataset.target_std is not None:
            self.mean, self.std = dataset.target_mean, dataset.target_std

    def _to_data_units(self, values: Tensor) -> Tensor:
        """Convert standardised values (batch, outputs) to the data's units, float64 where the device has it."""
        wide = values if values.device.type == "mps" else values.double()
        return wide * self.std.to(wide) + self.mean.to(wide)

    def _losses(self, prediction: Tensor, y: Tensor) -> Tensor:  # (batch, outputs)
        if self.kind == "mse":
            return (prediction - y).square()
        if self.kind == "mae":
            return (prediction - y).abs()
        return F.huber_loss(prediction, y, reduction="none")

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        y = _as_columns(require_labels(batch))
        return self._losses(_as_columns(forward_batch(model, batch)), y).mean()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        scaled, target = _as_columns(forward_batch(model, batch)), _as_columns(require_labels(batch))
        prediction, y = self._to_data_units(scaled), self._to_data_units(target)
        error = prediction - y
        return {
            "loss": self._losses(scaled, target).mean(1),
            "mse": error.square(),
            "mae": error.abs().mean(1),
            "y": y,
            "y2": y.square(),
        }

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        variance = means["y2"] - means["y"].square()
        # A constant target leaves nothing to explain: scikit-learn's convention is 1 for a perfect fit, else 0.
        r2 = torch.where(variance > 0, 1 - means["mse"] / variance, (means["mse"] == 0).double())
        mse = float(means["mse"].mean())
        return {
            "loss": float(means["loss"]),
            "mse": mse,
            "rmse": mse**0.5,
            "mae": float(means["mae"]),
            "r2": float(r2.mean()),
        }

    def score(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        from dlx.tasks import scores

        return scores.score_regression(*self._regress(model, batches))

    def report(self, model: nn.Module, batches: Iterable[Batch]) -> "Report":
        from dlx.tasks import scores

        return scores.report_regression(*self._regress(model, batches))

    def _regress(self, model: nn.Module, batches: Iterable[Batch]) -> tuple[Any, Any]:
        """Return the targets of a whole split and the predictions, (n, outputs) each, in the units of the data."""
        pairs = [(require_labels(batch), forward_batch(model, batch)) for batch in batches]
        y, found = (
            torch.cat([self._to_data_units(_as_columns(p).cpu()) for p in part]) for part in zip(*pairs, strict=True)
        )
        return y.numpy(), found.numpy()

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return predictions (batch, outputs), in the units of the data."""
        return self._to_data_units(_as_columns(model(x)))


def _as_columns(values: Tensor) -> Tensor:
    return values[:, None] if values.ndim == 1 else values
