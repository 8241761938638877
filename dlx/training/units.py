"""Say which metrics are not in the data's own units: those of inputs that were scaled."""

from collections.abc import Collection, Iterable

import torch
from torch import nn

from dlx.datasets.dataset import Dataset, to_wide
from dlx.metrics import Metric, find_metric, get_metric_name
from dlx.models.interfaces import Reconstructor


def remark_scaled_inputs(dataset: Dataset, model: nn.Module, declared: Iterable[Metric]) -> str | None:
    """Return what to say of the metrics that are in the units of scaled inputs; None where there are none.

    Args:
        dataset: loaded, or with a restored state.
        model: one that does not reconstruct has no `reconstruction_error`.
        declared: what task, model and procedure say that they emit.
    """
    reconstructs = isinstance(model, Reconstructor)
    names = dict.fromkeys(
        metric.name
        for metric in declared
        if metric.unit.startswith("input")
        and metric.direction is not None
        and (reconstructs or metric.name != "reconstruction_error")
    )
    return _explain(names, dataset) if names and _is_scaled(dataset) else None


def remark_measured(dataset: Dataset, metrics: Collection[str], declared: Collection[Metric]) -> str | None:
    """Return the same of metrics that were measured, named with their split."""
    found = {get_metric_name(tag): find_metric(tag, declared) for tag in metrics}
    names = [name for name, metric in found.items() if metric and metric.unit.startswith("input")]
    return _explain(names, dataset) if names and _is_scaled(dataset) else None


def _explain(names: Iterable[str], dataset: Dataset) -> str:
    scale = getattr(getattr(dataset, "scaler", None) or dataset, "scale", None)
    how = f"dataset.scale={scale}" if scale else "scaled"
    return f"{', '.join(names)}: of the inputs as the model sees them ({how}), not in the data's own units"


def _is_scaled(dataset: Dataset) -> bool:
    """Return whether the way back from what a model sees changes a value."""
    if dataset.kind == "symbols":
        return False
    seen = torch.linspace(0, 1, 3).view(3, *[1] * len(dataset.shape or ())).expand(3, *(dataset.shape or ()))
    back = dataset.inverse_transform(seen.contiguous())
    return not torch.equal(to_wide(back), to_wide(seen))
