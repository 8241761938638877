"""Encode and reconstruct with a trained model; draw the results."""

import inspect
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.splits import Generated, Split, Stream
from dlx.errors import UsageError
from dlx.figures import figures
from dlx.figures.plane import plot_codes
from dlx.hardware.device import autocast
from dlx.hardware.out_of_memory import retry_on_oom
from dlx.hardware.random_state import seed_everything
from dlx.models.interfaces import Conditional
from dlx.parts import Parts
from dlx.trained import trained

MAX_EXAMPLES = 10_000  # of a split that is streamed from files
MAX_PICTURED = 16
MAX_MAPPED = 3000  # codes on a map: more would overlap


def load_examples(parts: Parts, split: str) -> tuple[Tensor, Tensor | None]:
    """Return the raw examples (n, *shape) of a split and their labels (n,), None where it has none.

    Raises:
        UsageError: there is no such split, or it generates new examples each time.
    """
    data = parts.dataset.splits.get(split)
    if data is None:
        has = ", ".join(parts.dataset.splits)
        raise UsageError(f"--split {split} was given; {parts.dataset.source} has {has}; type one of them")
    if isinstance(data, Generated):
        raise UsageError(
            f"no INPUT was given; {parts.dataset.source} makes new examples each time; type a file of them"
        )
    if isinstance(data, Stream):
        x = torch.stack([data.data[row][0] for row in range(min(len(data), MAX_EXAMPLES))])
        y = None if data.y is None else data.y[: len(x)]
    else:
        assert isinstance(data, Split)
        x, y = data.x, data.y
    return x, None if y is None or y.is_floating_point() or y.ndim != 1 else y


def encode(parts: Parts, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Encode raw examples: column `code` (n, ...), and `label` where labels are known.

    Args:
        parts: a trained run's.
        x: (n, *shape) as the dataset holds them.
        labels: (n,); passed to conditional models only.

    Raises:
        UsageError: the model does not encode.
    """
    columns = {"code": _apply_method(parts, "encode", x, labels)}
    return columns if labels is None else {**columns, "label": labels}


def reconstruct(parts: Parts, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Reconstruct raw examples: columns `reconstruction` (n, *shape), and `x` as the model saw them.

    Both are in the units of the data. Args and raises as `encode`.
    """
    reconstruction = _apply_method(parts, "reconstruct", x, labels)
    # Numbers of float64 are scaled and nothing else: what leads back from float32 would be a rounded copy of them.
    is_wide = x.dtype == torch.float64 and not parts.dataset.random(False)
    seen = x if is_wide else trained.inverse_transform(_transform_examples(parts, x), parts.dataset)
    columns = {"reconstruction": trained.inverse_transform(reconstruction, parts.dataset), "x": seen}
    return columns if labels is None else {**columns, "label": labels}


def draw_picture(parts: Parts, columns: dict[str, Tensor]) -> Tensor | None:
    """Draw a map of codes, or examples above their reconstructions; None for what cannot be drawn."""
    if "code" in columns:
        labels = columns.get("label")
        return plot_codes(
            columns["code"][:MAX_MAPPED], None if labels is None else labels[:MAX_MAPPED], parts.dataset.names
        )
    x, reconstruction = columns["x"], columns["reconstruction"]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    shown = min(MAX_PICTURED, len(x))
    both = torch.cat([x[:shown], reconstruction[:shown].to(x.dtype)]).float()
    low, high = x.min(), x.max()
    return figures.make_grid(((both - low) / (high - low).clamp(min=1e-12)).clamp(0, 1), columns=shown)


@torch.no_grad()
def _apply_method(parts: Parts, method: str, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return what a method of the model gives for raw examples, (n, ...) on the CPU."""
    call: Any = getattr(parts.model, method, None)
    if not callable(call):
        raise UsageError(
            f"--{method} was given for the model {type(parts.model).__name__}; needed: one with {method}(x), such as "
            "vae, rbm or pca; leave it out for the model's own predictions"
        )
    conditional = labels is not None and "labels" in inspect.signature(call).parameters
    conditional = conditional and isinstance(parts.model, Conditional) and parts.model.conditional
    device = parts.trainer.device

    def apply_in_batches() -> Tensor:
        size, outputs = parts.data.eval_batch, []
        for low in range(0, len(x), size):
            given = parts.dataset.transform_on(x[low : low + size], device)
            more = {"labels": labels[low : low + size].to(device)} if conditional and labels is not None else {}
            outputs.append(call(given, **more).cpu())
        return torch.cat(outputs)

    seed_everything(parts.config.seed)
    with autocast(device, parts.trainer.precision):  # type: ignore[arg-type]
        values: Tensor = retry_on_oom(parts.data, apply_in_batches)
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _transform_examples(parts: Parts, x: Tensor) -> Tensor:
    """Return examples as `_apply_method` passes them to the model, on the CPU: the same batches, so the same draws."""
    device = parts.trainer.device
    return torch.cat([parts.dataset.transform_on(p, device).cpu() for p in x.split(parts.data.eval_batch)])
