"""What a generator has learned, as pictures; the noise is the same at each call, so that epochs compare."""

from typing import Any

import torch
from torch import Tensor

from dlx.figures import figures


def sheet(images: Tensor, like: Tensor, columns: int | None = None) -> Tensor:
    """Images (n, C, H, W) side by side, in the intensities of the data `like`, whatever their scaling."""
    low, high = like.amin(), like.amax()
    return figures.make_grid(((images - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).cpu(), columns)


def rows_of(classes: int, pictured: int, device: torch.device) -> Tensor:
    """Labels for a sheet with one row for each class, about `pictured` in all."""
    return torch.arange(classes, device=device).repeat_interleave(max(1, min(10, pictured // classes)))


def walk(model: Any, rows: int, steps: int) -> Tensor:
    """Images on the way from one noise to another, (rows × steps, *shape), one way a row, its label kept.

    Args:
        model: with `latent`, `between` and `decode`, as `dlx.models.adversarial.gan_base.Game` has them.
        rows: ways.
        steps: images of each, both ends among them.
    """
    ends = model.latent(2 * rows)
    start, end = (half.repeat_interleave(steps, 0) for half in ends.chunk(2))
    part = torch.linspace(0, 1, steps, device=ends.device).repeat(rows)[:, None]
    z = model.between(start, end, part)
    if not getattr(model, "conditional", False):
        return model.decode(z)
    labels = torch.arange(rows, device=z.device) % model.classes
    return model.decode(z, labels.repeat_interleave(steps))


def walks(model: Any) -> bool:
    """Whether a model has ways between its noises."""
    return all(callable(getattr(model, name, None)) for name in ("latent", "between", "decode"))
