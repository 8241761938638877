"""What a chart is drawn of: a model, and the examples of a split as it sees them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlx.datasets.dataset import Dataset
from dlx.datasets.splits import Generated, Split
from dlx.errors import UsageError
from dlx.models.interfaces import Pipelined, Probabilistic
from dlx.terminal.visible import make_visible

MAX_EXAMPLES = 2000  # of a split that charts look at, drawn at random from a larger one
CHUNK_VALUES = 2**22  # inputs' values in one forward pass


class Examples(NamedTuple):
    """Some examples of a split."""

    raw: Tensor  # (n, *shape) as the dataset holds them
    x: Tensor  # (n, *shape) as the model sees them, on its device
    y: Tensor | None  # (n,) labels or (n, outputs) targets in the units of the data, on the CPU


class Study(NamedTuple):
    """A trained model, its data, and the split that is looked at."""

    model: nn.Module
    dataset: Dataset
    split: str
    device: torch.device
    name: str = ""  # of the run: model · dataset
    chosen: Examples | None = None  # given by the user instead of the split's

    @property
    def title(self) -> str:
        """What stands above a chart: model · dataset · split."""
        return make_visible(" · ".join(filter(None, (self.name or self._make_name(), self.split))))

    def _make_name(self) -> str:
        return f"{type(self.model if self.estimator is None else self.estimator).__name__} · {self.dataset.source}"

    def take(self, split: str | None = None, most: int = MAX_EXAMPLES) -> Examples:
        """Return the examples of a split, the study's own where None is given; the same ones at every call."""
        if split is None and self.chosen is not None:
            return self.chosen
        source = self.dataset.splits[split or self.split]
        if isinstance(source, Generated):
            source = source.make(most, torch.Generator().manual_seed(self.dataset.seed))
        rows = torch.arange(len(source))
        if len(source) > most:
            rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:most].sort().values
        if isinstance(source, Split):
            raw, y = source.x[rows], None if source.y is None else source.y[rows]
        else:
            raw = torch.stack([source.data[int(row)][0] for row in rows])
            y = None if source.y is None else source.y[rows]
        return Examples(raw, self.see(raw), None if y is None else self.to_data_units(y))

    def see(self, raw: Tensor) -> Tensor:
        """Return raw examples as the model sees them, on its device."""
        return self.dataset.transform(raw.to(self.device), False, None)

    def to_data_units(self, y: Tensor) -> Tensor:
        """Undo the standardising of targets (n, outputs); labels stay as they are."""
        mean, std = self.dataset.target_mean, self.dataset.target_std
        if mean is None or std is None or not y.is_floating_point():
            return y.cpu()
        return y.cpu().double() * std.double() + mean.double()

    @torch.no_grad()
    def answer(self, x: Tensor, call: Callable[[Tensor], Any] | None = None) -> Tensor:
        """Return the model's outputs (n, …) for x (n, *shape), in portions, on the CPU in float64."""
        size = max(1, CHUNK_VALUES // max(x[0].numel(), 16))
        parts = [(call or self.model)(part.to(self.device)) for part in x.split(size)]
        return torch.cat([(part[0] if isinstance(part, tuple | list) else part).cpu().double() for part in parts])

    @property
    def has_probabilities(self) -> bool:
        """Whether a classifier's scores are logits."""
        return not isinstance(self.model, Probabilistic) or self.model.probabilistic

    def probabilities(self, x: Tensor) -> Tensor:
        """Return p(class | x), (n, classes); one-hot predictions of a classifier that has none."""
        scores = self.answer(x)
        if self.has_probabilities:
            return scores.softmax(1)
        return torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]).double()

    def predictions(self, x: Tensor) -> Tensor:
        """Return predicted numbers (n, outputs), in the units of the data."""
        values = self.answer(x)
        return self.to_data_units(values[:, None] if values.ndim == 1 else values)

    @property
    def estimator(self) -> Any:
        """scikit-learn's estimator, fitted, without the scaling before it; None for other models."""
        return self.model.estimator if isinstance(self.model, Pipelined) else None

    @property
    def scaler(self) -> Any:
        """scikit-learn's scaling before the estimator; None where there is none."""
        return None if self.estimator is None or self.model.scale == "none" else self.model.pipeline[0]  # type: ignore[index]

    def estimator_rows(self, x: Tensor) -> np.ndarray:
        """Return x (n, *shape) as the estimator sees it, (n, features) float64, scaled."""
        rows = x.detach().flatten(1).cpu().double().numpy()
        return rows if self.scaler is None else np.asarray(self.scaler.transform(rows))

    def from_estimator_rows(self, rows: np.ndarray) -> Tensor:
        """Return rows (n, features) as the estimator sees them as the model's inputs, (n, *shape)."""
        dense = rows.toarray() if hasattr(rows, "toarray") else rows
        dense = dense if self.scaler is None else self.scaler.inverse_transform(dense)
        return torch.from_numpy(np.array(dense, dtype=np.float64)).view(-1, *(self.dataset.shape or ()))

    def data_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and factor (features,) each: values in the data's units are offset + factor · the estimator's.

        Scaling is affine in each feature, so that two probes tell it.
        """
        features = torch.Size(self.dataset.shape or ()).numel()
        probes = self.from_estimator_rows(np.stack([np.zeros(features), np.ones(features)]))
        low, high = self.dataset.inverse_transform(probes).flatten(1).double().numpy()
        return low, high - low

    def estimator_targets(self, examples: Examples) -> np.ndarray:
        """Return labels (n,) or targets (n,) or (n, outputs) as the estimator was fitted to them."""
        assert examples.y is not None
        y, mean, std = examples.y, self.dataset.target_mean, self.dataset.target_std
        if y.is_floating_point() and mean is not None and std is not None:
            y = (y - mean.double()) / std.double()
        targets = y.numpy()
        return targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return [str(name) for name in self.dataset.names or range(self.dataset.classes or 0)]

    @property
    def feature_names(self) -> list[str]:
        """The names of the features; of images the pixels' places, row and column from 0."""
        shape = tuple(self.dataset.shape or ())
        if self.dataset.columns and len(self.dataset.columns) == torch.Size(shape).numel():
            return [str(name) for name in self.dataset.columns]
        if len(shape) == 3 and shape[0] == 1:
            return [f"pixel {row},{column}" for row in range(shape[1]) for column in range(shape[2])]
        return [f"x{i + 1}" for i in range(torch.Size(shape).numel())]

    def require_classifier(self, what: str) -> None:
        """Refuse a model that gives no score for each class of a fixed number of numbers.

        Raises:
            UsageError: the message says what is needed.
        """
        if not self._answers((self.dataset.classes,) if self.dataset.classes else None):
            raise UsageError(
                f"{what} needs a classifier on numbers of a fixed shape; {self._describe()} is none; "
                "try dlx train model=mlp dataset=moons"
            )

    def require_regressor(self, what: str) -> None:
        """Refuse a model that does not predict the dataset's targets, which are numbers.

        Raises:
            UsageError: the message says what is needed.
        """
        outputs = self.dataset.outputs
        fits = self.dataset.classes is None and outputs and (self._answers((outputs,)) or self._answers(()))
        if not fits:
            raise UsageError(
                f"{what} needs a model that predicts numbers, whose targets the data has; {self._describe()} is none; "
                "try dlx train model=ridge"
            )

    def _describe(self) -> str:
        return f"{type(self.model).__name__} on {self.dataset.source}"

    def _answers(self, shape: tuple[int | None, ...] | None) -> bool:
        """Tell whether the model answers with this shape, and the data has a label or target for each example."""
        if shape is None or self.dataset.kind == "symbols" or self.dataset.step_layout != "fixed":
            return False
        source = self.dataset.splits[self.split]
        labels = getattr(source, "y", None)
        if labels is None or labels.ndim != (1 if self.dataset.classes else 2):
            return False
        try:
            output = self.answer(self.take(self.split, 2).x)
        except (TypeError, RuntimeError, ValueError, AttributeError, IndexError, NotImplementedError):
            return False
        return tuple(output.shape[1:]) == shape
