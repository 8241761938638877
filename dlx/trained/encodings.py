"""Codes and reconstructions of a trained model, as arrays and as pictures."""

import inspect
from typing import Any

import torch
from torch import Tensor

from dlx.datasets.dataset import Generated, Split, Stream
from dlx.errors import UsageError
from dlx.figures import figures
from dlx.figures.plane import map_of
from dlx.hardware.device import autocast
from dlx.hardware.out_of_memory import fitting
from dlx.hardware.random_state import seed_everything
from dlx.parts import Parts
from dlx.trained import trained

MOST = 10_000  # examples of a split that is read from files
PICTURED = 16
MAPPED = 3000  # codes on a map: more would cover one another


def examples(parts: Parts, split: str) -> tuple[Tensor, Tensor | None]:
    """The raw examples (n, *shape) of a split and their labels (n,), None where it has none.

    Raises:
        UsageError: there is no such split, or it holds no examples of one size that stay the same.
    """
    found = parts.dataset.splits.get(split)
    if found is None:
        has = ", ".join(parts.dataset.splits)
        raise UsageError(f"--split {split} was given; {parts.dataset.source} has {has}; type one of them")
    if isinstance(found, Generated):
        raise UsageError(
            f"no INPUT was given; {parts.dataset.source} makes new examples each time; type a file of them"
        )
    if isinstance(found, Stream):
        x = torch.stack([found.data[row][0] for row in range(min(len(found), MOST))])
        y = None if found.y is None else found.y[: len(x)]
    else:
        assert isinstance(found, Split)
        x, y = found.x, found.y
    return x, None if y is None or y.is_floating_point() or y.ndim != 1 else y


def encoded(parts: Parts, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """`code` (n, ...) of raw examples, with `label` where labels are known.

    Args:
        parts: a trained run's.
        x: (n, *shape) as the dataset holds them.
        labels: (n,); conditional models are told them, others not.

    Raises:
        UsageError: the model has no codes.
    """
    columns = {"code": _each(parts, "encode", x, labels)}
    return columns if labels is None else {**columns, "label": labels}


def reconstructed(parts: Parts, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """`reconstruction` (n, *shape) of raw examples, `x` as the model saw them, both in the units of the data.

    Args and raises as `encoded`.
    """
    again = _each(parts, "reconstruct", x, labels)
    seen = trained.raw(_seen(parts, x), parts.dataset)
    columns = {"reconstruction": trained.raw(again, parts.dataset), "x": seen}
    return columns if labels is None else {**columns, "label": labels}


def picture(parts: Parts, columns: dict[str, Tensor]) -> Tensor | None:
    """A map of codes, or examples above their reconstructions; None for what cannot be drawn."""
    if "code" in columns:
        labels = columns.get("label")
        return map_of(columns["code"][:MAPPED], None if labels is None else labels[:MAPPED], parts.dataset.names)
    x, again = columns["x"], columns["reconstruction"]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        return None
    shown = min(PICTURED, len(x))
    both = torch.cat([x[:shown], again[:shown].to(x.dtype)]).float()
    low, high = x.min(), x.max()
    return figures.grid(((both - low) / (high - low).clamp(min=1e-12)).clamp(0, 1), columns=shown)


@torch.no_grad()
def _each(parts: Parts, method: str, x: Tensor, labels: Tensor | None) -> Tensor:
    """What a method of the model gives, (n, ...) on the processor."""
    call: Any = getattr(parts.model, method, None)
    if not callable(call):
        raise UsageError(
            f"--{method} was given for the model {type(parts.model).__name__}; needed: one with {method}(x), such as "
            "vae, rbm or pca; leave it out for the model's own predictions"
        )
    told = labels is not None and "labels" in inspect.signature(call).parameters
    told = told and getattr(parts.model, "conditional", False)
    device = parts.trainer.device

    def all_of_them() -> Tensor:
        size, found = parts.data.eval_batch, []
        for low in range(0, len(x), size):
            given = parts.dataset.transform_on(x[low : low + size], device)
            more = {"labels": labels[low : low + size].to(device)} if told and labels is not None else {}
            found.append(call(given, **more).cpu())
        return torch.cat(found)

    seed_everything(parts.config.seed)
    with autocast(device, parts.trainer.precision):  # type: ignore[arg-type]
        values: Tensor = fitting(parts.data, all_of_them)
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _seen(parts: Parts, x: Tensor) -> Tensor:
    """Examples as `_each` shows them to the model, on the processor: draws go by the same parts."""
    device = parts.trainer.device
    return torch.cat([parts.dataset.transform_on(p, device).cpu() for p in x.split(parts.data.eval_batch)])
