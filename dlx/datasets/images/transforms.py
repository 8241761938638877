"""Augmentation of image batches, on their device: a few operators for a whole chunk, not several for each image."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlx.errors import UsageError

DEFAULTS = {"flip": 0.0, "crop": 0, "rotate": 0.0, "zoom": 0.0, "shear": 0.0}


class Augment:
    """Random changes that keep an image's class; each is drawn anew for every image.

    Args:
        settings: any of
            flip: probability of a mirror image, left for right (true is one half);
            crop: pixels by which an image is padded with zeros before a random window of its own size is cut out;
            rotate: degrees, drawn from [-rotate, rotate];
            zoom: factor, drawn from [1 - zoom, 1 + zoom];
            shear: degrees of horizontal shear, drawn from [-shear, shear].

    Raises:
        UsageError: an unknown name, or a value out of range.
    """

    def __init__(self, settings: Mapping[str, Any] | None) -> None:
        given = {**DEFAULTS, **(settings or {})}
        for name, value in given.items():
            if name not in DEFAULTS:
                raise UsageError(f"dataset.augment.{name} was given; needed: some of {', '.join(DEFAULTS)}")
            high = {"flip": 1, "zoom": 0.99, "shear": 89}.get(name, 360)
            if not isinstance(value, int | float) or not 0 <= value <= high:
                raise UsageError(f"dataset.augment.{name}={value} was given; needed: a number from 0 to {high}")
        if int(given["crop"]) != given["crop"]:
            raise UsageError(f"dataset.augment.crop={given['crop']} was given; needed: a whole number of pixels")
        self.flip = 0.5 if given["flip"] is True else float(given["flip"])
        self.crop = int(given["crop"])
        self.rotate, self.zoom, self.shear = (float(given[name]) for name in ("rotate", "zoom", "shear"))

    def __bool__(self) -> bool:
        return bool(self.flip or self.crop or self.has_warp)

    @property
    def has_warp(self) -> bool:
        """Whether pixels are interpolated, which needs floats."""
        return bool(self.rotate or self.zoom or self.shear)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return an augmented copy of x, (batch, channels, height, width); uint8 unless pixels are interpolated."""
        draw = torch.rand(6, len(x), generator=generator, device=x.device)
        if self.flip or self.crop:
            top, left = (draw[1:3] * (2 * self.crop + 1)).long()
            x = crop_and_flip(x, self.crop, top, left, draw[0] < self.flip)
        if self.has_warp:
            angle, zoom, shear = 2 * draw[3:] - 1  # in [-1, 1)
            x = warp(x.float(), angle * self.rotate, 1 + zoom * self.zoom, shear * self.shear)
        return x


def crop_and_flip(x: Tensor, pad: int, top: Tensor, left: Tensor, flipped: Tensor) -> Tensor:
    """Pad each image with zeros, cut a window of its own size, and flip some: one gather for all of it.

    Args:
        x: (B, C, H, W).
        pad: zeros on each side, in pixels.
        top, left: (B,) corner of each window, 0 to 2 pad.
        flipped: (B,) bool.
    """
    B, C, H, W = x.shape
    across = torch.arange(W, device=x.device)
    rows = top[:, None] + torch.arange(H, device=x.device)  # (B, H)
    columns = left[:, None] + torch.where(flipped[:, None], across.flip(0), across)  # (B, W)
    places = rows[:, :, None] * (W + 2 * pad) + columns[:, None, :]  # (B, H, W), the same for every channel
    padded = F.pad(x, (pad, pad, pad, pad)) if pad else x
    return padded.flatten(2).gather(2, places.view(B, 1, H * W).expand(B, C, H * W)).view(B, C, H, W)


def warp(x: Tensor, angle: Tensor, zoom: Tensor, shear: Tensor) -> Tensor:
    """Rotate, magnify and shear each image about its centre, bilinearly, with zeros from outside.

    A point p of the image moves to zoom · R(angle) · S(shear) · p, as in torchvision's `affine`.

    Args:
        x: (B, C, H, W) float.
        angle, shear: (B,) degrees, clockwise.
        zoom: (B,) factor.
    """
    H, W = x.shape[2:]
    a, t = angle.deg2rad(), shear.deg2rad().tan()
    cos, sin = a.cos() / zoom, a.sin() / zoom
    # Where each pixel of the result comes from: the inverse, S(-shear) · R(-angle) / zoom, in pixels …
    first = torch.stack([cos - t * sin, sin + t * cos], 1)
    second = torch.stack([-sin, cos], 1)
    # … and in affine_grid's coordinates, where each side of the image runs from -1 to 1.
    matrix = torch.stack([first, second], 1) * torch.tensor([[1, H / W], [W / H, 1]], device=x.device)
    grid = F.affine_grid(F.pad(matrix, (0, 1)), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)
