"""Pictures of what a variational autoencoder learned, on fixed codes, so that epochs compare."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dlx.batch import Batch
from dlx.figures import figures
from dlx.figures.plane import plot_codes
from dlx.models.autoencoders.vae.base import Variational

MAX_MAP_POINTS = 2000  # codes on the map
INTERPOLATIONS, INTERPOLATION_STEPS = 8, 10  # interpolations, and codes on each


def draw_pictures(
    vae: Variational, batches: Iterable[Batch], pictured: int, names: list[str] | None, seed: int
) -> dict[str, Tensor]:
    """Draw pictures by name, (C, H, W) in [0, 1].

    Args:
        vae: the model.
        batches: of the split that is shown.
        pictured: samples drawn; a quarter as many examples are reconstructed.
        names: of the classes.
        seed: of the fixed codes.
    """
    x, y = _take_examples(batches, MAX_MAP_POINTS)
    pictures: dict[str, Tensor] = {}
    if len(vae.shape) == 3 and vae.shape[0] in (1, 3):
        few = max(8, pictured // 4)
        labels = y if vae.conditional else None
        low, high = float(x.min()), float(x.max())  # the data's range, whatever its scaling
        again = vae.reconstruct(x[:few], None if labels is None else labels[:few])
        pictures["reconstructions"] = _make_grid(torch.cat([x[:few], again]), low, high, few)
        pictures["samples"] = _make_grid(*_sample_fixed_codes(vae, pictured, seed, x.device, low, high))
        pictures["interpolations"] = _make_grid(_interpolate_codes(vae, x, labels), low, high, INTERPOLATION_STEPS)
    labelled = None if y is None or y.is_floating_point() else y.cpu()
    codes = plot_codes(vae.encode(x, y if vae.conditional else None), labelled, names)
    return pictures if codes is None else {**pictures, "latent_map": codes}


def make_fixed_codes(n: int, latent: int, seed: int) -> Tensor:
    """Make codes (n, latent) that are always the same: in two dimensions a lattice of quantiles, else seeded draws.

    The lattice's rows hold one quantile of the second dimension each, from high to low, as on a map; n is then rounded
    down to a square.
    """
    if latent != 2:
        return torch.randn(n, latent, generator=torch.Generator().manual_seed(seed))
    side = max(int(n**0.5), 1)
    levels = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    return torch.cartesian_prod(-levels, levels).flip(1)


def _sample_fixed_codes(
    vae: Variational, n: int, seed: int, device: torch.device, low: float, high: float
) -> tuple[Tensor, float, float, int | None]:
    """Decode fixed codes; a conditional model gets a row for each class, the same codes in all."""
    if not vae.conditional:
        z = make_fixed_codes(n, vae.latent, seed).to(device)
        return vae.decode(z), low, high, int(len(z) ** 0.5) if vae.latent == 2 else None
    across = max(8, n // vae.classes)
    z = torch.randn(across, vae.latent, generator=torch.Generator().manual_seed(seed)).to(device)
    labels = torch.arange(vae.classes, device=device).repeat_interleave(across)
    return vae.decode(z.repeat(vae.classes, 1), labels), low, high, across


def _interpolate_codes(vae: Variational, x: Tensor, labels: Tensor | None) -> Tensor:
    """Decode equal steps from the first examples' codes to the next ones'; a conditional model keeps a class."""
    n = min(INTERPOLATIONS, len(x) // 2)
    starts, ends = x[:n], x[n : 2 * n]
    at = None if labels is None else labels[:n]
    a, b = vae.encode(starts, at), vae.encode(ends, None if labels is None else labels[n : 2 * n])
    part = torch.linspace(0, 1, INTERPOLATION_STEPS, device=x.device)[None, :, None]
    z = torch.lerp(a[:, None], b[:, None], part).flatten(0, 1)
    return vae.decode(z, None if at is None else at.repeat_interleave(INTERPOLATION_STEPS))


def _take_examples(batches: Iterable[Batch], most: int) -> tuple[Tensor, Tensor | None]:
    """Return the first examples of a split, and their labels if they have any."""
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    for batch in batches:
        xs.append(batch.x)
        if batch.y is not None:
            ys.append(batch.y)
        if sum(map(len, xs)) >= most:
            break
    return torch.cat(xs)[:most], torch.cat(ys)[:most] if ys else None


def _make_grid(images: Tensor, low: float, high: float, columns: int | None) -> Tensor:
    shown = ((images.float() - low) / max(high - low, 1e-12)).clamp(0, 1)
    return figures.make_grid(shown.cpu(), columns=columns)
