"""Preprocessing as a module: from the tensors that a user has to what a model sees, within an exported graph.

A dataset makes one of what it has fitted (`Dataset.make_preprocessing`); no data is read for it. What it does is what
`transform` does, and what was done before it while reading: categories become columns, gaps are filled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dlx.errors import UsageError

MIN_SPREAD = 1e-4  # of a mean


@dataclass(frozen=True)
class Field:
    """One tensor, (batch, *shape), that a graph takes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]  # of one example; of sequences with the number of steps of the training's
    meaning: str  # for the user, with the units
    more: Mapping[str, Any] = field(default_factory=dict)  # tables of names, for the metadata

    def describe(self) -> dict[str, Any]:
        """Return what the metadata says of it."""
        dtype = str(self.dtype).removeprefix("torch.")
        return {"name": self.name, "dtype": dtype, "shape": list(self.shape), "meaning": self.meaning, **self.more}


class Scaling(Protocol):
    """What preprocessing needs of a dataset, which makes it: what was fitted, and the way there and back."""

    kind: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    columns: list[str] | None
    names: list[str] | None
    vocabulary: list[str] | None
    target_mean: Tensor | None
    target_std: Tensor | None

    @property
    def source(self) -> str:
        """What messages call the data."""

    def random(self, train: bool) -> bool:
        """Return whether `transform` draws."""

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        """Turn raw x (batch, *shape) into what a model sees."""

    def inverse_transform(self, x: Tensor) -> Tensor:
        """Turn it back."""


class Preprocessing(nn.Module):
    """One tensor of raw examples, as the dataset's files hold them.

    Columns of tables are float64 until they are scaled, as files hold more digits than float32. Series are float32,
    and float64 where float32 would tell few steps apart. Pictures are bytes where the dataset holds bytes.

    Raises:
        UsageError: what the dataset does to its examples is a draw.
    """

    def __init__(self, dataset: Scaling) -> None:
        super().__init__()
        draws = getattr(dataset, "binarize", "none")
        if dataset.random(False) or draws in ("static", "stochastic"):
            raise UsageError(
                f"dataset.binarize={draws} draws the bits of {dataset.source} anew, which no file does alike; type "
                "--bare for the model alone, without preprocessing"
            )
        self.dataset = dataset

    @property
    def fields(self) -> tuple[Field, ...]:
        """The tensors that `forward` takes, in its order."""
        dataset, dtype = self.dataset, self.raw_dtype
        columns = {"columns": list(dataset.columns)} if dataset.columns else {}
        vocabulary = dataset.vocabulary or (dataset.names if dataset.kind == "symbols" else None)
        symbols = {"symbols": list(vocabulary)} if vocabulary and dataset.kind == "symbols" else {}
        levels = float(getattr(dataset, "levels", 1.0))
        meaning = {
            "image": f"pictures (channels, height, width), {levels:g} is full intensity; decoded and resized before",
            "symbols": "symbols, their places in the list `symbols`",
            "sequence": "steps, in the units of the data",
        }.get(dataset.kind, "columns in this order, in the units of the data")
        return (Field("x", dtype, tuple(dataset.shape or ()), meaning, {**columns, **symbols}),)

    @property
    def raw_dtype(self) -> torch.dtype:
        """The type of the raw numbers that a graph takes."""
        dtype = self.dataset.dtype or torch.float32
        if not dtype.is_floating_point or self.dataset.kind == "image":
            return dtype
        if self.dataset.kind == "sequence" and (dtype == torch.float32 or not _is_coarse(self.dataset)):
            return torch.float32
        return torch.float64

    def forward(self, given: Mapping[str, Tensor]) -> Tensor:
        """Return what the model sees, (batch, *shape), of the fields' tensors by name."""
        return self.transform(given["x"])

    def transform(self, x: Tensor) -> Tensor:
        """Scale the dataset's raw examples, in the type that it keeps them in."""
        return self.dataset.transform(x.to(self.dataset.dtype or torch.float32), False, None)

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Return the fields' tensors of the dataset's own raw examples x (batch, *shape): what `forward` undoes."""
        return {"x": x.to(self.raw_dtype)}

    def snap(self, x: Tensor) -> Tensor:
        """Return made-up raw examples (batch, *shape) as a file may hold them: categories are whole."""
        return x

    def invert(self, x: Tensor) -> Tensor:
        """Return values (batch, *shape) of the model's inputs in the units of the data."""
        return self.dataset.inverse_transform(x)

    def describe(self) -> dict[str, Any]:
        """Return the numbers that it works by, as plain lists: enough to do it elsewhere."""
        return describe_scaling(self.dataset)


def _is_coarse(dataset: Scaling) -> bool:
    """Return whether float32 has fewer than about a thousand steps within a standard deviation of some channel."""
    inner: Any = getattr(dataset, "scaler", None) or dataset
    if not hasattr(inner, "shift"):
        return False
    return bool((inner.width.double() < MIN_SPREAD * inner.shift.double().abs()).any())


def describe_scaling(dataset: Scaling) -> dict[str, Any]:
    """Return a formula of what `transform` does, and the fitted numbers in it, as plain lists."""
    inner: Any = getattr(dataset, "scaler", None) or dataset  # of arrays, another dataset's
    scale = str(getattr(inner, "scale", "none"))
    about: dict[str, Any] = {"scale": scale}
    if hasattr(inner, "shift"):
        about["formula"] = "x" if scale == "none" else "(x - shift) / width"
        about |= {"shift": inner.shift.tolist(), "width": inner.width.tolist()} if scale != "none" else {}
    elif hasattr(inner, "levels"):
        formulas = {"none": "x", "unit": "x / levels", "symmetric": "2 * x / levels - 1"}
        about["formula"] = formulas.get(scale, "(x / levels - mean) / std, by channel")
        about["levels"] = inner.levels
        about |= {"mean": inner.mean, "std": inner.std} if scale == "standard" else {}
        binarize = getattr(inner, "binarize", "none")
        about |= {"binarize": binarize} if binarize != "none" else {}
    if isinstance(getattr(dataset, "fill_values", None), Tensor) and getattr(dataset, "missing", None) == "mean":
        about["gaps"] = dataset.fill_values.tolist()  # type: ignore[attr-defined]
    if dataset.target_mean is not None and dataset.target_std is not None:
        about["target_mean"], about["target_std"] = dataset.target_mean.tolist(), dataset.target_std.tolist()
        about["target_formula"] = "output * target_std + target_mean"
    return about
