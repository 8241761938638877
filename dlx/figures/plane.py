"""Plot codes of any size in the plane: as they are, or along their first two principal components."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlx.figures import figures


def plot_codes(codes: Tensor, labels: Tensor | None = None, names: Sequence[str] | None = None) -> Tensor | None:
    """Plot codes coloured by class, (3, H, W); None for codes of one dimension and fewer than three of them.

    Args:
        codes: (n, ...); each is flattened.
        labels: (n,) integers.
        names: of the classes.
    """
    codes = codes.detach().flatten(1).float().cpu()
    if codes.shape[1] < 2 or len(codes) < 3:
        return None
    if codes.shape[1] == 2:
        return figures.plot_scatter(codes, labels, names)
    points, share = project_to_plane(codes)
    title = f"two principal components of {codes.shape[1]}: {100 * share:.0f} % of the variance"
    return figures.plot_scatter(points, labels, names, title)


def project_to_plane(codes: Tensor) -> tuple[Tensor, float]:
    """Project codes (n, D) onto their first two principal components.

    A component's sign is chosen so that its largest entry is positive: the plots of two epochs are then alike.

    Returns:
        Coordinates (n, 2), and the components' share of the variance.
    """
    centred = (codes - codes.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    axes = vectors[:, -2:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    share = float(values[-2:].sum() / values.sum().clamp(min=1e-30))
    return (centred @ axes).float(), share
