"""Activation maximisation: the image that activates a class or a unit most.

D. Erhan, Y. Bengio, A. Courville, P. Vincent, "Visualizing Higher-Layer Features of a Deep Network", 2009; for classes
and with an L2 penalty K. Simonyan et al. 2013, https://arxiv.org/abs/1312.6034, §2; with a total-variation penalty
A. Mahendran, A. Vedaldi 2014, https://arxiv.org/abs/1412.0035; jitter from A. Mordvintsev et al., "Inceptionism", 2015.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlx.interpretability.layers import Layer, forward, select_scores


class Ascent(NamedTuple):
    """The results of gradient ascent."""

    images: Tensor  # (n, C, H, W)
    objective: Tensor  # (steps + 1, n), from the seed on; no column ever decreases
    activation: Tensor  # (2, n): without penalties, of the seed and of the images


def maximise(
    activation: Callable[[Tensor], Tensor],
    seed: Tensor,
    low: Tensor | float,
    high: Tensor | float,
    steps: int = 150,
    rate: float = 0.05,
    l2: float = 0.12,
    tv: float = 0.12,
    blur: float = 1.0,
    jitter: int = 1,
    generator: torch.Generator | None = None,
) -> Ascent:
    """Maximise a(x) - r (l2 mean(u²) + tv mean|∇u|), u = (x - middle) / (high - low), within [low, high].

    r = Σ |∂a / ∂u| at the seed is what `a` would gain if every pixel followed its slope over the whole range: so the
    same penalties work for a class's score and for a unit of the first layer.

    An image does not take a step that would not raise its objective, and its next step is half as long; a step taken is
    followed by one a fifth longer.

    Args:
        activation: of images (n, C, H, W), each independent of the others: (n,).
        seed: where to start, (n, C, H, W).
        low, high: the darkest and the brightest pixel, as numbers or (C, H, W).
        steps: number of steps tried.
        rate: root mean square of the first step, as a share of high - low.
        l2: penalty on contrast.
        tv: penalty on differences of neighbouring pixels.
        blur: standard deviation, in pixels, of a Gaussian that smooths the gradient. Its matrix is positive definite,
            so the direction is still one of ascent.
        jitter: the gradient is taken with the image shifted at random by up to so many pixels.
        generator: of the jitter.
    """
    low, high = torch.as_tensor(low, device=seed.device), torch.as_tensor(high, device=seed.device)
    span, middle = high - low, (high + low) / 2
    reach = _gradient(activation, seed).mul(span).abs().flatten(1).sum(1)

    def objective(x: Tensor) -> Tensor:
        u = (x - middle) / span
        down, right = u.diff(dim=2).abs(), u.diff(dim=3).abs()
        rough = down.flatten(1).mean(1) + right.flatten(1).mean(1)
        return activation(x) - reach * (l2 * u.square().flatten(1).mean(1) + tv * rough)

    x, length = seed.clone(), torch.full((len(seed), 1, 1, 1), rate, device=seed.device)
    with torch.no_grad():
        before, value = activation(x), objective(x)
    values = [value]
    for _ in range(steps):
        shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist() if jitter else [0, 0]
        slope = _gradient(objective, x.roll(shift, (2, 3))).roll([-s for s in shift], (2, 3))
        slope = gaussian_blur(slope * span, blur)
        stuck = ((x >= high) & (slope > 0)) | ((x <= low) & (slope < 0))  # pixels that can go no further
        slope = slope.masked_fill(stuck, 0)
        size = slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        with torch.no_grad():
            tried = torch.clamp(x + length * span * slope / size, low, high)
            reached = objective(tried)
        rises = reached > value
        x = torch.where(rises[:, None, None, None], tried, x)
        value = torch.where(rises, reached, value)
        length = torch.where(rises[:, None, None, None], length * 1.2, length / 2)
        values.append(value)
    with torch.no_grad():
        return Ascent(x, torch.stack(values), torch.stack([before, activation(x)]))


def _gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return ∂f / ∂x of each image's value, (n, C, H, W)."""
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


def class_scores(model: nn.Module, target: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the activation of classes `target` (n,) int64: scores before the softmax, as in Simonyan et al."""
    return lambda x: select_scores(forward(model, x).scores, target)


def unit_means(model: nn.Module, layer: Layer, units: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the activation of units or maps `units` (n,) int64 of a layer: the mean over a map's places."""

    def activation(x: Tensor) -> Tensor:
        A = forward(model, x, [layer]).outputs[0]
        return select_scores(A.reshape(*A.shape[:2], -1).mean(2), units)

    return activation


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Convolve images (n, C, H, W) with a Gaussian, zero outside."""
    if sigma <= 0:
        return x
    reach = math.ceil(3 * sigma)
    kernel = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype).div(sigma).square().div(-2).exp()
    kernel = kernel / kernel.sum()
    C = x.shape[1]
    x = F.conv2d(x, kernel.view(1, 1, -1, 1).expand(C, 1, -1, 1), padding=(reach, 0), groups=C)
    return F.conv2d(x, kernel.view(1, 1, 1, -1).expand(C, 1, 1, -1), padding=(0, reach), groups=C)
