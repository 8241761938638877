"""Every method's pictures, by name: what `dlx visualize` writes, and training by `trainer.visuals`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlx.figures.contact_sheet import BAD, GOOD, Text, apply_colormap, draw_columns, draw_strips, grey_to_rgb
from dlx.figures.figures import FAINT, make_grid
from dlx.interpretability.activations import activations, toned
from dlx.interpretability.choice import Choice, check, convolutions, last_convolution, pick, spread
from dlx.interpretability.deconvnet import deconvnet
from dlx.interpretability.filters import filters
from dlx.interpretability.grad_cam import enlarged, grad_cam
from dlx.interpretability.layers import Layer
from dlx.interpretability.maximization import class_scores, maximise, unit_means
from dlx.interpretability.occlusion import occlusion
from dlx.interpretability.saliency import saliency
from dlx.interpretability.subject import Subject, visible

Pictures = dict[str, Tensor]  # name to (3 or 1, H, W) in [0, 1]
MOST = 64  # filters, channels, maps and units that are shown of a layer
LAYERS = 6  # of a network, in a sheet of projections
STRIPS = 48  # layers whose activations are shown
ASCENTS = 16  # classes or units that are climbed at once
SAME = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)  # what they give has been seen already
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.LeakyReLU, nn.ELU, nn.SiLU)
ORDINALS = ("strongest", "second", "third", "fourth", "fifth", "sixth")


def draw(method: str, subject: Subject, choice: Choice = Choice()) -> Pictures:  # noqa: B008 - it cannot change
    """Pictures of a method, named `method`, `method/layer` or `method/example`.

    Raises:
        UsageError: the method does not suit the model, or there is no such layer or unit.
    """
    check(method, subject, choice)
    drawers = {
        "filters": _filters,
        "activations": _activations,
        "deconvnet": _deconvnet,
        "saliency": _saliency,
        "grad_cam": _grad_cam,
        "occlusion": _occlusion,
        "maximization": _maximization,
    }
    return drawers[method](subject, choice)


def _filters(subject: Subject, choice: Choice) -> Pictures:
    found = convolutions(subject, choice)
    channels = subject.x.shape[1]
    pictures = {}
    for name, module in found.items():
        seen = module.weight.shape[1] if isinstance(module, nn.Conv2d) else module.in_channels // module.groups
        whole = seen == 1 or (seen == channels == 3 and module.in_channels == 3)
        tiles = filters(module, whole)[:MOST, :MOST]
        w = tiles.shape[-1]
        if whole:
            pictures[f"filters/{name}"] = make_grid(tiles[:, 0], scale=max(1, round(48 / w)), between=1.0)
        else:
            across = tiles.shape[1]
            scale = max(1, min(12, (1200 // across - 1) // w))
            pictures[f"filters/{name}"] = make_grid(tiles.flatten(0, 1), across, 1 if scale < 6 else 2, scale, 1.0)
    return pictures


def _activations(subject: Subject, choice: Choice) -> Pictures:
    picked = pick(subject, choice)
    wanted = [picked] if picked else _shown(subject.layers)
    found = activations(subject.model, subject.x, wanted)
    pictures = {}
    for i, below in enumerate(_labels(subject)):
        parts = [toned(maps[i].float().reshape(*maps.shape[1:], *[1] * (4 - maps.ndim))).cpu() for maps in found]
        names = [f"{layer.name}  {'×'.join(map(str, layer.shape))}" for layer in wanted]
        few = [part[: MOST if part.shape[-1] > 1 else 4 * MOST] for part in parts]
        pictures[f"activations/{i}"] = draw_strips(few, names, subject.shown[i], below)
    return pictures


def _shown(layers: Sequence[Layer]) -> list[Layer]:
    """Every layer; of a deep network without normalizations, then without activations, then some of the rest."""
    found = [layer for layer in layers if layer.leaf and len(layer.shape) in (1, 3)]
    for kinds in (SAME, NORMALIZATIONS, ACTIVATIONS):
        if kinds is SAME or len(found) > STRIPS:
            found = [layer for layer in found if not isinstance(layer.module, kinds)]
    return spread(found, STRIPS)


def _deconvnet(subject: Subject, choice: Choice) -> Pictures:
    layer, unit = pick(subject, choice), choice.unit
    if layer is None:
        wanted = spread([each for each in subject.layers if each.convolution], LAYERS)
        rows = [deconvnet(subject.model, subject.x, each)[:, 0] for each in wanted]
        names, title = [each.name for each in wanted], "deconvnet"
    else:
        maps = LAYERS if unit is None else torch.full((len(subject.x), 1), unit, device=subject.x.device)
        rows = list(deconvnet(subject.model, subject.x, layer, maps).unbind(1))
        names, title = list(ORDINALS) if unit is None else [f"map {unit}"], f"deconvnet/{layer.name}"
    return {title: draw_columns([subject.shown, *map(_signed, rows)], ["image", *names[: len(rows)]], _labels(subject))}


def _signed(pixels: Tensor) -> Tensor:
    """Each picture (n, C, H, W) around mid-grey, by its own largest value."""
    pixels = pixels.float().cpu()
    pixels = pixels if pixels.shape[1] in (1, 3) else pixels.mean(1, keepdim=True)
    return 0.5 + pixels / pixels.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 2


def _saliency(subject: Subject, choice: Choice) -> Pictures:
    maps = saliency(subject.model, subject.x, _target(subject, choice)).float().cpu()
    bright = maps.flatten(1).quantile(0.995, dim=1).clamp(min=1e-12)  # a single pixel shall not darken all others
    rows = [subject.shown, apply_colormap((maps / bright[:, None, None]).clamp(max=1))]
    return {"saliency": draw_columns(rows, ["image", "saliency"], _labels(subject, choice))}


def _grad_cam(subject: Subject, choice: Choice) -> Pictures:
    layer = pick(subject, choice) or last_convolution(subject)
    cam = grad_cam(subject.model, subject.x, _target(subject, choice), layer)
    maps = enlarged(cam, (subject.x.shape[2], subject.x.shape[3])).float().cpu()
    heat = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    rows = [subject.shown, _over(subject.shown, apply_colormap(heat, "turbo"), 0.3 + 0.4 * heat[:, None])]
    return {"grad_cam": draw_columns(rows, ["image", f"Grad-CAM, {layer.name}"], _labels(subject, choice))}


def _over(images: Tensor, colours: Tensor, share: float | Tensor) -> Tensor:
    return (1 - share) * grey_to_rgb(images).mean(1, keepdim=True) + share * colours


def _occlusion(subject: Subject, choice: Choice) -> Pictures:
    size = max(1, min(subject.x.shape[2:]) // 4)
    grey = (subject.low + subject.high) / 2
    stride = max(1, size // 4)
    drops = occlusion(subject.model, subject.x, _target(subject, choice), size, stride, grey).float().cpu()
    largest = drops.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    rows = [subject.shown, _over(subject.shown, apply_colormap(0.5 + drops / largest / 2, "coolwarm"), 0.75)]
    below = [
        [*texts, Text(f"drop {'< 1' if drop.max() < 0.01 else f'up to {100 * float(drop.max()):.0f}'} %", FAINT)]
        for texts, drop in zip(_labels(subject, choice), drops, strict=True)
    ]
    return {"occlusion": draw_columns(rows, ["image", f"occlusion, {size}×{size}"], below)}


def _maximization(subject: Subject, choice: Choice) -> Pictures:
    picked, x = pick(subject, choice), subject.x
    one = choice.label if picked is None else choice.unit
    count = picked.shape[0] if picked is not None else subject.scores.shape[1] if subject.scores is not None else 0
    wanted = torch.arange(min(count, ASCENTS)) if one is None else torch.tensor([one])
    wanted = wanted.to(x.device)
    activation = class_scores(subject.model, wanted)
    if picked is not None:
        activation = unit_means(subject.model, picked, wanted)
    generator = torch.Generator().manual_seed(0)  # the same seed at every step of a training
    noise = 0.5 + 0.05 * torch.randn(len(wanted), *x.shape[1:], generator=generator).to(x.device)
    low, high = subject.low, subject.high
    found = maximise(activation, low + (high - low) * noise, low, high, generator=generator)
    rows = [visible(((found.images - low) / (high - low)).cpu().float())]
    before, after = found.activation.tolist()
    names = [subject.name(k) if picked is None else f"{picked.name} {k}" for k in wanted.tolist()]
    below = [[Text(name), Text(f"{a:.1f} to {b:.1f}")] for name, a, b in zip(names, before, after, strict=True)]
    title = "maximization" + (f"/{picked.name}" if picked is not None else "")
    return {title: draw_columns(rows, [], below)}


def _target(subject: Subject, choice: Choice) -> Tensor:
    """The class that is explained of each example."""
    assert subject.scores is not None  # checked
    if choice.label is None:
        return subject.scores.argmax(1)
    return torch.full((len(subject.x),), choice.label, device=subject.x.device)


def _labels(subject: Subject, choice: Choice = Choice()) -> Sequence[Sequence[Text]]:  # noqa: B008
    """What is written below each example: its true class, what is predicted, and the class explained if asked for."""
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
