"""Regression: numbers for each example."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.config.names import Named, split_choice
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.tasks.losses import (
    IN_DATA_UNITS,
    NEEDS_PLAIN_TARGETS,
    NUMBER_LOSSES,
    RegressionLoss,
    log_cosh,
    make_number_loss,
    negative_cosine,
    percentage_error,
    squared_logarithmic_error,
)
from dlx.tasks.task import Task, forward_batch, require_labels

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset
    from dlx.tasks.scores import Report


RegressionMetric = Annotated[Any, Named("regression metric")]
# What is measured where it is asked for, of predictions and targets (batch, outputs): (batch,), or what `finish` needs.
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mape": lambda prediction, y: percentage_error(prediction, y).mean(1),
    "msle": lambda prediction, y: squared_logarithmic_error(prediction, y).mean(1),
    "log_cosh": lambda prediction, y: log_cosh(prediction, y).mean(1),
    "cosine_similarity": lambda prediction, y: -negative_cosine(prediction, y),
    "explained_variance": lambda prediction, y: y - prediction,
}


class Regression(Task):
    """Models give predictions, (batch, outputs) or (batch,); `r2` is the coefficient of determination.

    Where the dataset standardises its targets, the loss is that of the standardised ones; everything else is in the
    units of the data. With several outputs `r2` is their plain average, as in scikit-learn's `r2_score`.

    Args:
        loss: what is minimised: a name of `dlx.tasks.losses`, such as mse or `{huber: {delta: 2}}`, or an object that
            is called with (predictions, targets). Those that ask for numbers as they are (mape, msle, poisson,
            kl_divergence) are computed in the data's units.
        metrics: what is measured beside the usual: mape (%), msle, log_cosh, cosine_similarity of all outputs of an
            example, explained_variance.
    """

    needs: ClassVar[str | None] = "targets"
    monitor = "r2"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "loss",
        "mse",
        "rmse",
        "mae",
        "median_absolute_error",
        "r2",
        "mape",
        "msle",
        "log_cosh",
        "cosine_similarity",
        "explained_variance",
    )

    def __init__(self, loss: RegressionLoss = "mse", metrics: Sequence[RegressionMetric] = ()) -> None:
        self.kind, self.function = make_number_loss("regression loss", loss, NUMBER_LOSSES)
        self.measured = [split_choice("regression metric", name)[0] for name in metrics]
        self.mean, self.std = torch.zeros(1), torch.ones(1)  # (outputs,) of standardised targets

    def attach(self, dataset: "Dataset") -> None:
        super().attach(dataset)
        if dataset.target_mean is not None and dataset.target_std is not None:
            self.mean, self.std = dataset.target_mean, dataset.target_std
            if self.kind in NEEDS_PLAIN_TARGETS:
                raise UsageError(
                    f"task.loss={self.kind} was given, and the dataset's targets are scaled; needed: targets as they "
                    "are, and a network whose outputs are above zero; type dataset.scale_target=none model=mlp "
                    "model.output={activation:softplus}"
                )

    def _to_data_units(self, values: Tensor) -> Tensor:
        """Convert standardised values (batch, outputs) to the data's units, float64 where the device has it."""
        wide = values if values.device.type == "mps" else values.double()
        return wide * self.std.to(wide) + self.mean.to(wide)

    def _losses(self, prediction: Tensor, y: Tensor) -> Tensor:  # (batch, outputs), (batch,), or 0-d
        if self.kind in IN_DATA_UNITS:
            prediction, y = self._to_data_units(prediction), self._to_data_units(y)
        return self.function(prediction, y)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        y = _as_columns(require_labels(batch))
        return self._losses(_as_columns(forward_batch(model, batch)), y).mean()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        scaled, target = _as_columns(forward_batch(model, batch)), _as_columns(require_labels(batch))
        prediction, y = self._to_data_units(scaled), self._to_data_units(target)
        error = prediction - y
        loss = self._losses(scaled, target)
        return {
            "loss": loss.mean(1) if loss.ndim > 1 else loss,
            "mse": error.square(),
            "mae": error.abs().mean(1),
            "y": y,
            "y2": y.square(),
            **{name: MEASURES[name](prediction, y) for name in self.measured},
        }

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        variance = means["y2"] - means["y"].square()
        # A constant target leaves nothing to explain: scikit-learn's convention is 1 for a perfect fit, else 0.
        r2 = torch.where(variance > 0, 1 - means["mse"] / variance, (means["mse"] == 0).double())
        mse = float(means["mse"].mean())
        more = {name: float(means[name]) for name in self.measured if name != "explained_variance"}
        if "explained_variance" in self.measured:  # as r2, but a constant error costs nothing
            left = means["mse"] - means["explained_variance"].square()
            more["explained_variance"] = float(
                torch.where(variance > 0, 1 - left / variance, (left == 0).double()).mean()
            )
        return {
            "loss": float(means["loss"]),
            "mse": mse,
            "rmse": mse**0.5,
            "mae": float(means["mae"]),
            "r2": float(r2.mean()),
            **more,
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
