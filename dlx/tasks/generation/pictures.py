"""Pictures of what a generator has learned; the noise is the same at each call, so that epochs compare."""

from typing import Any

import torch
from torch import Tensor

from dlx.figures import figures
from dlx.models.interfaces import Conditional, Interpolator


def image_grid(images: Tensor, like: Tensor, columns: int | None = None) -> Tensor:
    """Lay images (n, C, H, W) side by side, in the intensities of the data `like`, whatever their scaling."""
    low, high = like.amin(), like.amax()
    return figures.make_grid(((images - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).cpu(), columns)


def make_row_labels(classes: int, pictured: int, device: torch.device) -> Tensor:
    """Make labels for a grid with one row for each class, about `pictured` in all."""
    return torch.arange(classes, device=device).repeat_interleave(max(1, min(10, pictured // classes)))


def interpolate_samples(model: Any, rows: int, steps: int) -> Tensor:
    """Generate images between one noise and another, (rows × steps, *shape), one way a row, its label kept.

    Args:
        model: with `latent`, `between` and `decode`, as `dlx.models.adversarial.gan_base.GANBase` has them.
        rows: ways.
        steps: images of each, both ends among them.
    """
    ends = model.latent(2 * rows)
    start, end = (half.repeat_interleave(steps, 0) for half in ends.chunk(2))
    part = torch.linspace(0, 1, steps, device=ends.device).repeat(rows)[:, None]
    z = model.between(start, end, part)
    is_told = isinstance(model, Conditional) and model.conditional
    images: Tensor
    if is_told:
        labels = torch.arange(rows, device=z.device) % model.classes
        images = model.decode(z, labels.repeat_interleave(steps))
    else:
        images = model.decode(z)
    return images


def can_interpolate(model: Any) -> bool:
    """Return whether a model has ways between its noises."""
    return isinstance(model, Interpolator)
