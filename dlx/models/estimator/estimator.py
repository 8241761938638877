"""Any estimator of scikit-learn as a model: classifiers, regressors, clusterers, and transformers that can go back.

F. Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR 12, 2011, https://jmlr.org/papers/v12/pedregosa11a
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from dlx.errors import TrainingError, UsageError
from dlx.models.estimator.kinds import check, name, types
from dlx.models.estimator.serialization import dumps, loads
from dlx.types import Count

log = logging.getLogger(__name__)
TINY = float(np.finfo(np.float64).eps)  # a probability of 0 counts as this one, as in scikit-learn's log_loss


class Estimator(nn.Module):
    """Base: an estimator behind an optional scaling, fitted at once, kept in `state_dict` as skops' bytes.

    It computes on the processor, in float64 and on flattened examples, exactly as scikit-learn alone would with as many
    threads. Until it is fitted it says nothing: equal scores, zeros. What `fit` gave is what `state_dict` holds;
    changes to the estimator behind its back are not saved.

    Args:
        estimator: any of scikit-learn's, or one of its kind.
        shape: of one example.
        scale: what comes before it, fitted on the same examples: `standard` gives each feature mean 0 and variance 1,
            `minmax` puts it into [0, 1].

    Raises:
        UsageError: the estimator is of another kind, or refuses its values.
    """

    accepts = ("image", "vector")
    kinds: ClassVar[tuple[str, ...]] = ()  # scikit-learn's names for what may be given; empty for any
    needed: ClassVar[tuple[str, ...]] = ("fit", "predict")

    def __init__(
        self, estimator: Any, shape: Sequence[int], scale: Literal["none", "standard", "minmax"] = "none"
    ) -> None:
        super().__init__()
        self.shape, self.scale = tuple(shape), scale
        check(estimator, self.kinds, self.needed)
        scalers: dict[str, Any] = {"standard": StandardScaler, "minmax": MinMaxScaler}
        self.pipeline: Any = estimator if scale == "none" else make_pipeline(scalers[scale](), estimator)
        self.saved = torch.empty(0, dtype=torch.uint8)

    @property
    def estimator(self) -> Any:
        """scikit-learn's object, with all its attributes (`coef_`, `tree_`, ...), without the scaling."""
        return self.pipeline if self.scale == "none" else self.pipeline[-1]

    @property
    def fitted(self) -> bool:
        """Whether it has learned."""
        return len(self.saved) > 0

    def fit(self, x: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Learn from all examples at once, forgetting what was learned before.

        Args:
            x: (examples, *shape).
            y: labels (examples,), targets (examples, outputs), or None where none are needed.

        Returns:
            What the estimator tells of its fit: `iterations`, where it counts them.

        Raises:
            TrainingError: the estimator refuses the data.
        """
        targets = self._targets(y)
        with self._heard():
            self.pipeline.fit(_rows(x), targets)
        # At once: a search tree counts its queries, and a saved tree read again has other bytes between its fields.
        self.saved = torch.frombuffer(bytearray(dumps(self.pipeline)), dtype=torch.uint8)
        steps = getattr(self.estimator, "n_iter_", None)
        return {} if steps is None else {"iterations": float(np.max(steps))}

    def _targets(self, y: Tensor | None) -> np.ndarray | None:
        return None

    def _say(self, method: str, rows: np.ndarray) -> np.ndarray:
        """What a method of the pipeline says of rows (batch, features): an array of our own, (batch, ...)."""
        with self._heard():
            return np.array(getattr(self.pipeline, method)(rows))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: there is no torch operation to compile."""

    def get_extra_state(self) -> Tensor:
        """skops' bytes, (size,) uint8; none before the fit."""
        return self.saved

    def set_extra_state(self, state: Tensor) -> None:
        """Undo `get_extra_state`.

        Raises:
            UsageError: the bytes hold a type that is not trusted, or another estimator than this one.
        """
        if len(state) == 0:
            self.pipeline, self.saved = clone(self.pipeline), state.cpu()
            return
        own = types(self.pipeline)
        with self._heard():  # of another version of scikit-learn
            found = loads(state.cpu().numpy().tobytes(), {kind.split(".")[0] for kind in own})
        if types(found) != own:
            raise UsageError(
                f"the checkpoint holds {name(found)}; needed: {name(self.pipeline)}, as model.estimator and "
                "model.scale say"
            )
        self.pipeline, self.saved = found, state.cpu().clone()

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        """Within, what scikit-learn warns of goes to the log, once each, and its errors become ours.

        The libraries beneath it take as many threads as torch: `trainer.threads` rules all. For small data one is best,
        by far where the processor has other work too (logistic regression on digits: 0.1 s, with two threads up to 7).

        Raises:
            TrainingError: with what scikit-learn said.
        """
        who = type(self.estimator).__name__
        with warnings.catch_warnings(record=True) as said, threadpool_limits(torch.get_num_threads()):
            warnings.simplefilter("always")
            try:
                yield
            except (ValueError, TypeError) as error:
                raise TrainingError(
                    f"{who} cannot go on: {' '.join(str(error).split())}; what helps is another value of "
                    "model.estimator.…, or other data"
                ) from error
        for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in said):
            log.warning("%s: %s", who, text)


class Classifier(Estimator):
    """An estimator that predicts one of several classes.

    Args:
        estimator, shape, scale: as in `Estimator`.
        outputs: classes of the dataset, of which the training split may lack some.
    """

    kinds = ("classifier",)

    def __init__(
        self,
        estimator: Any,
        shape: Sequence[int],
        outputs: Count,
        scale: Literal["none", "standard", "minmax"] = "none",
    ) -> None:
        super().__init__(estimator, shape, scale)
        self.outputs = outputs

    @property
    def probabilistic(self) -> bool:
        """Whether it has probabilities; a support vector machine, for one, has none."""
        return hasattr(self.pipeline, "predict_proba")

    def _targets(self, y: Tensor | None) -> np.ndarray:
        if y is None or y.is_floating_point() or y.ndim != 1:
            raise UsageError(
                f"{type(self.estimator).__name__} is a classifier; needed: data with labels; type another dataset=, "
                "or a model that predicts numbers (ridge, svr, random_forest_regressor)"
            )
        return y.cpu().numpy()

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, outputs) of x (batch, *shape): log-probabilities, or 1 for what is predicted and else 0.

        The largest is always what scikit-learn's `predict` says, also where it does not follow from its
        probabilities, or where they tie.
        """
        scores = torch.zeros(len(x), self.outputs, dtype=torch.float64)
        if not self.fitted:
            return _like(scores, x)
        rows = _rows(x)
        label = torch.from_numpy(self._say("predict", rows)).long()[:, None]
        if not self.probabilistic:
            return _like(scores.scatter_(1, label, 1.0), x)
        classes = torch.from_numpy(np.array(self.pipeline.classes_)).long()
        scores.index_copy_(1, classes, torch.from_numpy(self._say("predict_proba", rows)).double())
        scores, label = _like(scores.clamp_(min=TINY).log_(), x), label.to(x.device)
        above = scores.amax(1, keepdim=True).nextafter(scores.new_tensor(torch.inf))
        wrong = scores.argmax(1, keepdim=True) != label
        return scores.scatter(1, label, torch.where(wrong, above, scores.gather(1, label)))

    def pictures(self) -> dict[str, Tensor]:
        """A linear classifier's weights for each class, where examples are images."""
        weights = getattr(self.estimator, "coef_", None)
        if not isinstance(weights, np.ndarray) or len(self.shape) != 3:
            return {}
        from dlx.figures.figures import plot_filters

        return {"weights": plot_filters(torch.from_numpy(weights), self.shape)}


class Regressor(Estimator):
    """An estimator that predicts numbers.

    Args:
        estimator, shape, scale: as in `Estimator`.
        outputs: targets of an example.
    """

    kinds = ("regressor",)

    def __init__(
        self,
        estimator: Any,
        shape: Sequence[int],
        outputs: Count,
        scale: Literal["none", "standard", "minmax"] = "none",
    ) -> None:
        super().__init__(estimator, shape, scale)
        self.outputs = outputs

    def _targets(self, y: Tensor | None) -> np.ndarray:
        if y is None:
            raise UsageError(f"{type(self.estimator).__name__} needs targets; type a dataset= that has them (diabetes)")
        wide = y.cpu().double().numpy()
        # One target is a flat vector to scikit-learn: some estimators take no other.
        return wide.reshape(-1) if self.outputs == 1 else wide

    def forward(self, x: Tensor) -> Tensor:
        """Predictions (batch, outputs) of x (batch, *shape)."""
        said = torch.from_numpy(self._say("predict", _rows(x))) if self.fitted else torch.zeros(len(x), self.outputs)
        return _like(said.view(len(x), self.outputs), x)


class Clusterer(Estimator):
    """An estimator that divides examples into clusters, and tells new ones where they belong."""

    kinds = ("clusterer", "density_estimator")

    def fit(self, x: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """As `Estimator.fit`; also `inertia` where it has one, unless scaling makes that another thing."""
        told = super().fit(x)
        if self.scale == "none" and hasattr(self.estimator, "inertia_"):
            told["inertia"] = float(self.estimator.inertia_)
        return told

    @property
    def centres(self) -> Tensor | None:
        """Centres of the clusters in the space of the data, (clusters, *shape); None where it knows none."""
        found = getattr(self.estimator, "cluster_centers_", getattr(self.estimator, "means_", None))
        if found is None:
            return None
        if self.scale != "none":
            found = self.pipeline[0].inverse_transform(found)
        return torch.from_numpy(np.array(found, dtype=np.float64)).view(-1, *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Index of each example's cluster, (batch,) int64, of x (batch, *shape)."""
        said = torch.from_numpy(self._say("predict", _rows(x))) if self.fitted else torch.zeros(len(x))
        return said.long().to(x.device)


class Projector(Estimator):
    """A transformer that can go back, such as PCA: code = transform(x), reconstruction = inverse_transform(code)."""

    needed = ("fit", "transform", "inverse_transform")

    def fit(self, x: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """As `Estimator.fit`; also `components`, and the part of the training data's variance that they explain."""
        told = super().fit(x)
        if hasattr(self.estimator, "components_"):
            told["components"] = float(len(self.estimator.components_))
        if hasattr(self.estimator, "explained_variance_ratio_"):
            told["explained_variance"] = float(self.estimator.explained_variance_ratio_.sum())
        return told

    def encode(self, x: Tensor) -> Tensor:
        """Codes (batch, components) of x (batch, *shape)."""
        said = torch.from_numpy(self._say("transform", _rows(x))) if self.fitted else torch.zeros(len(x), 1)
        return _like(said, x)

    def decode(self, z: Tensor) -> Tensor:
        """Examples (batch, *shape) of codes z (batch, components)."""
        said = (
            torch.from_numpy(self._say("inverse_transform", _rows(z)))
            if self.fitted
            else z.new_zeros(len(z), *self.shape)
        )
        return _like(said.view(len(z), *self.shape), z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """What is left of x (batch, *shape) after its code, in the same shape."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """As `reconstruct`."""
        return self.reconstruct(x)

    def pictures(self) -> dict[str, Tensor]:
        """The components as images, and how much of the variance the first k of them explain."""
        from dlx.figures.figures import plot_filters, plot_lines

        drawn = {}
        if len(self.shape) == 3 and hasattr(self.estimator, "components_"):
            drawn["components"] = plot_filters(torch.from_numpy(self.estimator.components_), self.shape)
        ratio = getattr(self.estimator, "explained_variance_ratio_", None)
        if ratio is not None:
            curve = {"training split": (np.arange(1, len(ratio) + 1), ratio.cumsum())}
            drawn["explained_variance"] = plot_lines(curve, x="components", y="part of the variance explained")
        return drawn


def _rows(x: Tensor) -> np.ndarray:
    """(batch, features) float64, as scikit-learn's loaders give it."""
    return x.detach().flatten(1).cpu().double().numpy()


def _like(values: Tensor, x: Tensor) -> Tensor:
    """On x's device, in float64 where it has that."""
    return values.to(x.device, torch.float32 if x.device.type == "mps" else torch.float64)
