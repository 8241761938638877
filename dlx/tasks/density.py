"""Density: how probable the model finds what it has not seen."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from dlx.batch import Batch
from dlx.errors import UsageError
from dlx.tasks.task import Task, first
from dlx.types import Count


@runtime_checkable
class Scorer(Protocol):
    """What this task needs of a model."""

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Values (batch,) of each example: `log_likelihood` in nats where it is exact, else what there is instead."""


class Density(Task):
    """Log-likelihoods in nats, the mean over examples; per step too for sequences, and in bits.

    `log_likelihood` is always exact: where a model's partition function is out of reach, only what can be computed is
    reported, under its own name (`pseudo_log_likelihood`, `free_energy`, which compare runs of one model only).

    Args:
        pictured: examples drawn above their reconstructions, and samples drawn.
    """

    needs: ClassVar[str | None] = None
    monitor = "log_likelihood"
    mode: Literal["min", "max"] = "max"

    def __init__(self, pictured: Count = 64) -> None:
        self.pictured = pictured

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        values = dict(_scorer(model).scores(batch.x, batch.lengths))
        if batch.lengths is not None:
            values["steps"] = batch.lengths
        reconstruct = getattr(model, "reconstruct", None)
        if callable(reconstruct):
            values["reconstruction_error"] = (reconstruct(batch.x) - batch.x).flatten(1).square().mean(1)
        return values

    def finish(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        final = {name: float(mean) for name, mean in means.items() if name != "steps"}
        if "steps" in means and "log_likelihood" in final:
            final["nats_per_step"] = -final["log_likelihood"] / float(means["steps"])
            final["bits_per_step"] = final["nats_per_step"] / math.log(2)
        return final

    def whole(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """The exact log-likelihood of an energy model, where its partition function can be summed."""
        log_partition = getattr(model, "log_partition", None)
        log_Z = log_partition() if callable(log_partition) else None
        if log_Z is None:
            return {}
        energies = torch.cat([_scorer(model).scores(batch.x)["free_energy"].double() for batch in batches])
        return {"log_likelihood": float(-energies.mean() - log_Z), "log_partition": float(log_Z)}

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """The first of the model's scores, (batch,)."""
        return next(iter(self.predictions(model, x).values()))

    def predictions(self, model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        """The model's scores, (batch,) each, with hidden states (batch, T) or codes where it has them."""
        columns = dict(_scorer(model).scores(x))
        for name in ("decode_states", "encode"):
            found: Any = getattr(model, name, None)
            if callable(found):
                columns["states" if name == "decode_states" else "code"] = found(x)
        return columns

    def pictures(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
        """Samples of a model of images, and examples above their reconstructions."""
        x = first(batches, 10)
        if x.ndim != 4:
            return {}
        from dlx.logs.figures import grid

        drawn = {}
        sample: Any = getattr(model, "sample", None)
        if callable(sample):
            drawn["samples"] = grid(sample(self.pictured).clamp(0, 1).cpu())
        reconstruct: Any = getattr(model, "reconstruct", None)
        if callable(reconstruct):
            both = torch.cat([x, reconstruct(x)]).clamp(0, 1).cpu()
            drawn["reconstructions"] = grid(both, columns=len(x))
        return drawn


def _scorer(model: nn.Module) -> Scorer:
    if not isinstance(model, Scorer):
        raise UsageError(
            f"task=density was given the model {type(model).__name__}; needed: one with scores(x), such as rbm or "
            "categorical_hmm; type another task= (dlx list tasks)"
        )
    return cast(Scorer, model)
