"""Draw the pictures of every method, for `dlx visualize` and `trainer.visuals`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlx.figures.contact_sheet import BAD, GOOD, Text, apply_colormap, draw_columns, draw_strips, grey_to_rgb
from dlx.figures.figures import FAINT, make_grid
from dlx.interpretability.activations import activations, to_grey
from dlx.interpretability.choice import (
    Choice,
    check_method,
    find_last_convolution,
    sample_evenly,
    select_convolutions,
    select_layer,
)
from dlx.interpretability.deconvnet import deconvnet
from dlx.interpretability.filters import filters
from dlx.interpretability.grad_cam import grad_cam, upsample
from dlx.interpretability.layers import Layer
from dlx.interpretability.maximization import class_scores, maximise, unit_means
from dlx.interpretability.occlusion import occlusion
from dlx.interpretability.saliency import saliency
from dlx.interpretability.subject import Subject, to_displayable

Pictures = dict[str, Tensor]  # name to (3 or 1, H, W) in [0, 1]
MAX_MAPS = 64  # filters, channels, maps and units of a layer that are shown
MAX_LAYERS = 6  # of a network, in a sheet of projections
MAX_STRIPS = 48  # layers whose activations are shown
MAX_ASCENTS = 16  # classes or units that are maximised at once
PASS_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)  # their output is the layer's before them
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.LeakyReLU, nn.ELU, nn.SiLU)
ORDINALS = ("strongest", "second", "third", "fourth", "fifth", "sixth")


def draw(method: str, subject: Subject, choice: Choice = Choice()) -> Pictures:  # noqa: B008 - it cannot change
    """Draw the pictures of a method, named `method`, `method/layer` or `method/example`.

    Raises:
        UsageError: the method does not fit the model, or there is no such layer or unit.
    """
    check_method(method, subject, choice)
    drawers = {
        "filters": _draw_filters,
        "activations": _draw_activations,
        "deconvnet": _draw_deconvnet,
        "saliency": _draw_saliency,
        "grad_cam": _draw_grad_cam,
        "occlusion": _draw_occlusion,
        "maximization": _draw_maximization,
    }
    return drawers[method](subject, choice)


def _draw_filters(subject: Subject, choice: Choice) -> Pictures:
    channels = subject.x.shape[1]
    pictures = {}
    for name, module in select_convolutions(subject, choice).items():
        inputs = module.weight.shape[1] if isinstance(module, nn.Conv2d) else module.in_channels // module.groups
        in_colour = inputs == 1 or (inputs == channels == 3 and module.in_channels == 3)
        tiles = filters(module, in_colour)[:MAX_MAPS, :MAX_MAPS]
        w = tiles.shape[-1]
        if in_colour:
            pictures[f"filters/{name}"] = make_grid(tiles[:, 0], scale=max(1, round(48 / w)), between=1.0)
        else:
            across = tiles.shape[1]
            scale = max(1, min(12, (1200 // across - 1) // w))
            pictures[f"filters/{name}"] = make_grid(tiles.flatten(0, 1), across, 1 if scale < 6 else 2, scale, 1.0)
    return pictures


def _draw_activations(subject: Subject, choice: Choice) -> Pictures:
    picked = select_layer(subject, choice)
    wanted = [picked] if picked else _select_layers(subject.layers)
    outputs = activations(subject.model, subject.x, wanted)
    pictures = {}
    for i, below in enumerate(_make_labels(subject)):
        parts = [to_grey(maps[i].float().reshape(*maps.shape[1:], *[1] * (4 - maps.ndim))).cpu() for maps in outputs]
        names = [f"{layer.name}  {'×'.join(map(str, layer.shape))}" for layer in wanted]
        few = [part[: MAX_MAPS if part.shape[-1] > 1 else 4 * MAX_MAPS] for part in parts]
        pictures[f"activations/{i}"] = draw_strips(few, names, subject.shown[i], below)
    return pictures


def _select_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Select all layers; of a deep network no normalizations, then no activations, then a sample of the rest."""
    selected = [layer for layer in layers if layer.is_leaf and len(layer.shape) in (1, 3)]
    for kinds in (PASS_THROUGH, NORMALIZATIONS, ACTIVATIONS):
        if kinds is PASS_THROUGH or len(selected) > MAX_STRIPS:
            selected = [layer for layer in selected if not isinstance(layer.module, kinds)]
    return sample_evenly(selected, MAX_STRIPS)


def _draw_deconvnet(subject: Subject, choice: Choice) -> Pictures:
    layer, unit = select_layer(subject, choice), choice.unit
    if layer is None:
        wanted = sample_evenly([each for each in subject.layers if each.is_convolution], MAX_LAYERS)
        rows = [deconvnet(subject.model, subject.x, each)[:, 0] for each in wanted]
        names, title = [each.name for each in wanted], "deconvnet"
    else:
        maps = MAX_LAYERS if unit is None else torch.full((len(subject.x), 1), unit, device=subject.x.device)
        rows = list(deconvnet(subject.model, subject.x, layer, maps).unbind(1))
        names, title = list(ORDINALS) if unit is None else [f"map {unit}"], f"deconvnet/{layer.name}"
    pictures = [subject.shown, *map(_scale_signed, rows)]
    return {title: draw_columns(pictures, ["image", *names[: len(rows)]], _make_labels(subject))}


def _scale_signed(pixels: Tensor) -> Tensor:
    """Scale each picture (n, C, H, W) around mid-grey by its own largest value."""
    pixels = pixels.float().cpu()
    pixels = pixels if pixels.shape[1] in (1, 3) else pixels.mean(1, keepdim=True)
    return 0.5 + pixels / pixels.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 2


def _draw_saliency(subject: Subject, choice: Choice) -> Pictures:
    maps = saliency(subject.model, subject.x, _make_target(subject, choice)).float().cpu()
    bright = maps.flatten(1).quantile(0.995, dim=1).clamp(min=1e-12)  # a single pixel must not darken all others
    rows = [subject.shown, apply_colormap((maps / bright[:, None, None]).clamp(max=1))]
    return {"saliency": draw_columns(rows, ["image", "saliency"], _make_labels(subject, choice))}


def _draw_grad_cam(subject: Subject, choice: Choice) -> Pictures:
    layer = select_layer(subject, choice) or find_last_convolution(subject)
    cam = grad_cam(subject.model, subject.x, _make_target(subject, choice), layer)
    maps = upsample(cam, (subject.x.shape[2], subject.x.shape[3])).float().cpu()
    heat = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    rows = [subject.shown, _overlay(subject.shown, apply_colormap(heat, "turbo"), 0.3 + 0.4 * heat[:, None])]
    return {"grad_cam": draw_columns(rows, ["image", f"Grad-CAM, {layer.name}"], _make_labels(subject, choice))}


def _overlay(images: Tensor, colours: Tensor, share: float | Tensor) -> Tensor:
    return (1 - share) * grey_to_rgb(images).mean(1, keepdim=True) + share * colours


def _draw_occlusion(subject: Subject, choice: Choice) -> Pictures:
    size = max(1, min(subject.x.shape[2:]) // 4)
    grey = (subject.low + subject.high) / 2
    stride = max(1, size // 4)
    drops = occlusion(subject.model, subject.x, _make_target(subject, choice), size, stride, grey).float().cpu()
    largest = drops.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    rows = [subject.shown, _overlay(subject.shown, apply_colormap(0.5 + drops / largest / 2, "coolwarm"), 0.75)]
    below = [
        [*texts, Text(f"drop {'< 1' if drop.max() < 0.01 else f'up to {100 * float(drop.max()):.0f}'} %", FAINT)]
        for texts, drop in zip(_make_labels(subject, choice), drops, strict=True)
    ]
    return {"occlusion": draw_columns(rows, ["image", f"occlusion, {size}×{size}"], below)}


def _draw_maximization(subject: Subject, choice: Choice) -> Pictures:
    picked, x = select_layer(subject, choice), subject.x
    one = choice.label if picked is None else choice.unit
    count = picked.shape[0] if picked is not None else subject.scores.shape[1] if subject.scores is not None else 0
    wanted = torch.arange(min(count, MAX_ASCENTS)) if one is None else torch.tensor([one])
    wanted = wanted.to(x.device)
    activation = class_scores(subject.model, wanted)
    if picked is not None:
        activation = unit_means(subject.model, picked, wanted)
    generator = torch.Generator().manual_seed(0)  # the same seed at every step of a training
    noise = 0.5 + 0.05 * torch.randn(len(wanted), *x.shape[1:], generator=generator).to(x.device)
    low, high = subject.low, subject.high
    ascent = maximise(activation, low + (high - low) * noise, low, high, generator=generator)
    rows = [to_displayable(((ascent.images - low) / (high - low)).cpu().float())]
    before, after = ascent.activation.tolist()
    names = [subject.name(k) if picked is None else f"{picked.name} {k}" for k in wanted.tolist()]
    below = [[Text(name), Text(f"{a:.1f} to {b:.1f}")] for name, a, b in zip(names, before, after, strict=True)]
    title = "maximization" + (f"/{picked.name}" if picked is not None else "")
    return {title: draw_columns(rows, [], below)}


def _make_target(subject: Subject, choice: Choice) -> Tensor:
    """Return the class that is explained for each example, (n,)."""
    assert subject.scores is not None  # checked
    if choice.label is None:
        return subject.scores.argmax(1)
    return torch.full((len(subject.x),), choice.label, device=subject.x.device)


def _make_labels(subject: Subject, choice: Choice = Choice()) -> Sequence[Sequence[Text]]:  # noqa: B008
    """Return the text below each example: its true class, the prediction, and the chosen class if there is one."""
    lines: list[list[Text]] = [[] for _ in subject.x]
    if subject.y is not None:
        for line, label in zip(lines, subject.y.tolist(), strict=True):
            line.append(Text(f"true: {subject.name(label)}"))
    if subject.scores is not None:
        best, labels = (each.tolist() for each in subject.scores.float().softmax(1).max(1))
        for i, (line, p, label) in enumerate(zip(lines, best, labels, strict=True)):
            right = subject.y is None or int(subject.y[i]) == label
            line.append(Text(f"seen: {subject.name(label)}", GOOD if right else BAD, f"{100 * p:.0f} %"))
    if choice.label is not None:
        for line in lines:
            line.append(Text(f"why {subject.name(choice.label)}?"))
    return lines
