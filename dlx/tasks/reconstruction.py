"""Reconstruction: give back what was seen, out of less."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.metrics import Metric
from dlx.models.interfaces import Decoder, Encoder, Reconstructor, SigmoidOutputs
from dlx.tasks.losses import NUMBER_LOSSES, ReconstructionLoss, make_number_loss
from dlx.tasks.task import Task, take_inputs
from dlx.types import Count, Natural

if TYPE_CHECKING:
    from dlx.datasets.dataset import Dataset
    from dlx.tasks.components import Components

INTERPOLATION_STEPS = 10  # images on each way from one code to another


class Reconstruction(Task):
    """Models give `reconstruct(x)`, of the shape of x, (batch, *shape).

    `squared_error` is the squared distance between an example and its reconstruction, summed over its elements (as
    Hinton and Salakhutdinov 2006 report it), `mse` the same divided by their number. `explained_variance` is the part
    of the split's variance that the reconstructions keep, 1 for perfect ones, 0 where the split's mean would do as
    well. All are of the inputs as the model sees them: after the dataset's scaling, which the plan names.

    Args:
        loss: what is minimised where the model learns by gradients: `mse`, or `cross_entropy` in nats, summed over
            the elements, for data and reconstructions in [0, 1]; `binary_cross_entropy` is its mean over the elements.
            Others are mae, huber, log_cosh, poisson and cosine_similarity, or an object that is called with
            (reconstructions, examples), (batch, *shape) each.
        pictured: how many examples are drawn above their reconstructions.
        components: measure beside the model what so many principal components of the training split would do,
            `pca_squared_error`; 0 for nothing.
    """

    needs: ClassVar[str | None] = None
    monitor = "mse"
    declares: ClassVar[tuple[str | Metric, ...]] = (
        "loss",
        Metric("mse", "min", "input²", "mean squared distance to the reconstruction"),
        "squared_error",
        "explained_variance",
        "pca_squared_error",
    )

    def __init__(self, loss: ReconstructionLoss = "mse", pictured: Count = 10, components: Natural = 0) -> None:
        self.kind, self.function = make_number_loss("reconstruction loss", loss, LOSSES)
        self.pictured, self.components = pictured, components
        self.principal: Components | None = None
        self.shape: tuple[int, ...] = ()
        self.names: list[str] | None = None

    def attach(self, dataset: "Dataset") -> None:
        self.shape, self.names = dataset.shape or (), dataset.names
        if self.components:
            from dlx.tasks.components import fit_principal_components

            def fit() -> None:
                self.principal = fit_principal_components(dataset, self.components)

            dataset.when_read(fit)

    def validate_model(self, model: nn.Module) -> None:
        """Check that the model's reconstructions are probabilities where cross entropy takes them for such.

        Raises:
            UsageError: they are not.
        """
        super().validate_model(model)
        if self.kind in NEEDS_SIGMOID and isinstance(model, SigmoidOutputs) and model.sigmoid is False:
            raise UsageError(
                f"loss={self.kind} was given for {type(model).__name__} with linear outputs; needed: outputs and "
                "data in [0, 1]; type task.loss=mse (procedure.pretrain.task.loss=mse where layers are pretrained)"
            )

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        again = reconstruct(model, batch.x)
        if self.kind == "mse":
            return F.mse_loss(again, batch.x.to(again.dtype))
        return self.function(again, batch.x).mean()

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        wide = torch.float32 if batch.x.device.type == "mps" else torch.float64
        x, again = batch.x.flatten(1).to(wide), reconstruct(model, batch.x).flatten(1).to(wide)
        squares = (x - again).square()
        values = {"squared_error": squares.sum(1), "mse": squares.mean(1), "x": x, "x2": x.square()}
        if self.kind != "mse":
            loss = self.function(again.view(batch.x.shape), x.view(batch.x.shape))
            values["loss"] = loss.flatten(1).mean(1) if loss.ndim > 1 else loss
        if self.principal is not None:
            values["pca_squared_error"] = self.principal.squared_error(x)
        return values

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        final = {name: float(mean) for name, mean in means.items() if name not in ("x", "x2")}
        variance = float((means["x2"] - means["x"].square()).sum())
        if variance > 0:
            final["explained_variance"] = 1 - final["squared_error"] / variance
        return final

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return reconstructions, (batch, *shape)."""
        return reconstruct(model, x)

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """Return reconstructions (batch, *shape), and codes (batch, ...) where the model has them."""
        columns = {"reconstruction": reconstruct(model, x)}
        return {**columns, "code": model.encode(x)} if isinstance(model, Encoder) else columns

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Draw examples above their reconstructions, ways between codes, and a map of codes coloured by class."""
        pictures = {}
        if isinstance(model, Encoder):
            from dlx.figures.plane import plot_codes

            examples, labels = _take_examples(batches)
            codes = plot_codes(model.encode(examples), labels, self.names)
            pictures = {} if codes is None else {"latent_map": codes}
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            return pictures
        x = take_inputs(batches, 2 * self.pictured)
        some = x[: self.pictured]
        low, high = x.min().cpu(), x.max().cpu()  # the data's range, whatever its scaling

        def grid(images: Tensor, columns: int) -> Tensor:
            from dlx.figures import figures

            shown = ((images.cpu() - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
            return figures.make_grid(shown, columns=columns)

        pictures["reconstructions"] = grid(torch.cat([some, reconstruct(model, some).to(x.dtype)]), len(some))
        if isinstance(model, Encoder) and isinstance(model, Decoder):
            pictures["interpolations"] = grid(_interpolate_codes(model, x), INTERPOLATION_STEPS)
        return pictures


def _take_examples(batches: Iterable[Batch], most: int = 2000) -> tuple[Tensor, Tensor | None]:
    """Return the split's first examples, and their labels where these are classes."""
    xs, ys, count = [], [], 0
    for batch in batches:
        xs.append(batch.x)
        if batch.y is not None and batch.y.ndim == 1 and not batch.y.is_floating_point():
            ys.append(batch.y)
        count += len(batch.x)
        if count >= most:
            break
    labels = torch.cat(ys)[:most].cpu() if len(ys) == len(xs) else None
    return torch.cat(xs)[:most], labels


def _interpolate_codes(model: nn.Module, x: Tensor, most: int = 8) -> Tensor:
    """Decode equal steps from the first examples' codes to the next ones', (ways · INTERPOLATION_STEPS, *shape)."""
    n = min(most, len(x) // 2)
    starts, ends = model.encode(x[:n]), model.encode(x[n : 2 * n])  # type: ignore[operator]
    part = torch.linspace(0, 1, INTERPOLATION_STEPS).to(starts).view(1, -1, *[1] * (starts.ndim - 1))
    decoded: Tensor = model.decode(torch.lerp(starts[:, None], ends[:, None], part).flatten(0, 1))  # type: ignore[operator]
    return decoded


def reconstruct(model: nn.Module, x: Tensor) -> Tensor:
    """Return the model's reconstruction of x, (batch, *shape).

    Raises:
        UsageError: the model does not reconstruct.
    """
    if not isinstance(model, Reconstructor):
        raise UsageError(
            f"task=reconstruction was given the model {type(model).__name__}; needed: one with reconstruct(x), such "
            "as pca or rbm; type another task= (dlx list tasks)"
        )
    return model.reconstruct(x)


def _cross_entropy(again: Tensor, x: Tensor) -> Tensor:  # (batch,), in nats
    # F.binary_cross_entropy refuses to run under autocast on a GPU. The floor (of -100, as there) is put under the
    # probabilities: under their logarithms it would leave a gradient of 0 · ∞ where a unit is saturated.
    floor = math.exp(-100) if again.dtype == torch.float64 else 1e-37
    log_p, log_q = again.clamp(min=floor).log(), (1 - again).clamp(min=floor).log()
    return -(x * log_p + (1 - x) * log_q).flatten(1).sum(1)


def _mean_cross_entropy(again: Tensor, x: Tensor) -> Tensor:  # (batch,), in nats of an element
    return _cross_entropy(again, x) / max(again[0].numel(), 1)


NEEDS_SIGMOID = ("cross_entropy", "binary_cross_entropy", "poisson")  # reconstructions above zero
LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _mean_cross_entropy,
    **{name: NUMBER_LOSSES[name] for name in ("mse", "mae", "huber", "log_cosh", "poisson", "cosine_similarity")},
}
