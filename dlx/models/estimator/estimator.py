"""Any estimator of scikit-learn as a model: classifiers, regressors, clusterers, and invertible transformers.

F. Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR 12, 2011, https://jmlr.org/papers/v12/pedregosa11a
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from dlx.errors import TrainingError, UsageError
from dlx.metrics import Metric
from dlx.models.estimator.kinds import check_estimator, describe_estimator, get_type_names
from dlx.models.estimator.serialization import dumps, loads
from dlx.types import Count

log = logging.getLogger(__name__)
EPS = float(np.finfo(np.float64).eps)  # a probability of 0 counts as this one, as in scikit-learn's log_loss


class Estimator(nn.Module):
    """Base: an estimator behind an optional scaling, fitted at once, kept in `state_dict` as skops' bytes.

    It computes on the processor, in float64 and on flattened examples, exactly as scikit-learn alone would with as many
    threads. Until it is fitted it predicts nothing: equal scores, zeros. `state_dict` holds the result of `fit`; later
    changes to the estimator are not saved.

    Args:
        estimator: any of scikit-learn's, or one of its kind.
        shape: of one example.
        scale: what comes before it, fitted on the same examples: `standard` gives each feature mean 0 and variance 1,
            `minmax` puts it into [0, 1].

    Raises:
        UsageError: the estimator is of another kind, or refuses its values.
    """

    accepts = ("image", "vector")
    declares: ClassVar[tuple[str | Metric, ...]] = ("iterations",)
    estimator_types: ClassVar[tuple[str, ...]] = ()  # scikit-learn's names for what may be given; empty for any
    required_methods: ClassVar[tuple[str, ...]] = ("fit", "predict")

    def __init__(
        self, estimator: Any, shape: Sequence[int], scale: Literal["none", "standard", "minmax"] = "none"
    ) -> None:
        super().__init__()
        self.shape, self.scale = tuple(shape), scale
        check_estimator(estimator, self.estimator_types, self.required_methods)
        scalers: dict[str, Any] = {"standard": StandardScaler, "minmax": MinMaxScaler}
        self.pipeline: Any = estimator if scale == "none" else make_pipeline(scalers[scale](), estimator)
        self.saved = torch.empty(0, dtype=torch.uint8)

    @property
    def estimator(self) -> Any:
        """scikit-learn's object, with all its attributes (`coef_`, `tree_`, ...), without the scaling."""
        return self.pipeline if self.scale == "none" else self.pipeline[-1]

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned."""
        return len(self.saved) > 0

    def fit(self, x: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Learn from all examples at once, forgetting what was learned before.

        Args:
            x: (examples, *shape).
            y: labels (examples,), targets (examples, outputs), or None where none are needed.

        Returns:
            Numbers about the fit: `iterations`, where the estimator counts them.

        Raises:
            TrainingError: the estimator refuses the data.
        """
        targets = self._to_targets(y)
        with self._report_warnings():
            self.pipeline.fit(_to_rows(x), targets)
        # At once: a search tree counts its queries, and a saved tree read again has other bytes between its fields.
        self.saved = torch.frombuffer(bytearray(dumps(self.pipeline)), dtype=torch.uint8)
        steps = getattr(self.estimator, "n_iter_", None)
        return {} if steps is None else {"iterations": float(np.max(steps))}

    def _to_targets(self, y: Tensor | None) -> np.ndarray | None:
        return None

    def _call_sklearn(self, method: str, rows: np.ndarray) -> np.ndarray:
        """Call a method of the pipeline on rows (batch, features) and return a copy of its result, (batch, ...)."""
        with self._report_warnings():
            return np.array(getattr(self.pipeline, method)(rows))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: there is no torch operation to compile."""

    def get_extra_state(self) -> Tensor:
        """Return skops' bytes, (size,) uint8; none before the fit."""
        return self.saved

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the estimator from `get_extra_state`'s bytes.

        Raises:
            UsageError: the bytes hold a type that is not trusted, or another estimator than this one.
        """
        if len(state) == 0:
            self.pipeline, self.saved = clone(self.pipeline), state.cpu()
            return
        own = get_type_names(self.pipeline)
        with self._report_warnings():  # of another version of scikit-learn
            loaded = loads(state.cpu().numpy().tobytes(), {kind.split(".")[0] for kind in own})
        if get_type_names(loaded) != own:
            raise UsageError(
                f"the checkpoint holds {describe_estimator(loaded)}; needed: "
                f"{describe_estimator(self.pipeline)}, as model.estimator and model.scale say"
            )
        self.pipeline, self.saved = loaded, state.cpu().clone()

    @contextlib.contextmanager
    def _report_warnings(self) -> Iterator[None]:
        """Log scikit-learn's warnings, once each, and raise its errors as ours.

        The libraries beneath it take as many threads as torch: `trainer.threads` rules all. For small data one is best,
        by far where the processor has other work too (logistic regression on digits: 0.1 s, with two threads up to 7).

        Raises:
            TrainingError: with what scikit-learn said.
        """
        who = type(self.estimator).__name__
        with warnings.catch_warnings(record=True) as caught, threadpool_limits(torch.get_num_threads()):
            warnings.simplefilter("always")
            try:
                yield
            except (ValueError, TypeError) as error:
                raise TrainingError(
                    f"{who} cannot go on: {' '.join(str(error).split())}; what helps is another value of "
                    "model.estimator.…, or other data"
                ) from error
        for text in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
            log.warning("%s: %s", who, text)


class Classifier(Estimator):
    """An estimator that predicts one of several classes.

    Args:
        estimator, shape, scale: as in `Estimator`.
        outputs: classes of the dataset, of which the training split may lack some.
    """

    estimator_types = ("classifier",)

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

    def _to_targets(self, y: Tensor | None) -> np.ndarray:
        if y is None or y.is_floating_point() or y.ndim != 1:
            raise UsageError(
                f"{type(self.estimator).__name__} is a classifier; needed: data with labels; type another dataset=, "
                "or a model that predicts numbers (ridge, svr, random_forest_regressor)"
            )
        return y.cpu().numpy()

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, outputs) of x (batch, *shape): log-probabilities, or one-hot predictions.

        The largest is always what scikit-learn's `predict` says, also where it does not follow from its
        probabilities, or where they tie.
        """
        scores = torch.zeros(len(x), self.outputs, dtype=torch.float64)
        if not self.is_fitted:
            return _to_device_of(scores, x)
        rows = _to_rows(x)
        label = torch.from_numpy(self._call_sklearn("predict", rows)).long()[:, None]
        if not self.probabilistic:
            return _to_device_of(scores.scatter_(1, label, 1.0), x)
        classes = torch.from_numpy(np.array(self.pipeline.classes_)).long()
        scores.index_copy_(1, classes, torch.from_numpy(self._call_sklearn("predict_proba", rows)).double())
        scores, label = _to_device_of(scores.clamp_(min=EPS).log_(), x), label.to(x.device)
        above = scores.amax(1, keepdim=True).nextafter(scores.new_tensor(torch.inf))
        wrong = scores.argmax(1, keepdim=True) != label
        return scores.scatter(1, label, torch.where(wrong, above, scores.gather(1, label)))

    def pictures(self) -> dict[str, Tensor]:
        """Return a linear classifier's weights for each class as images, where examples are images."""
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

    estimator_types = ("regressor",)

    def __init__(
        self,
        estimator: Any,
        shape: Sequence[int],
        outputs: Count,
        scale: Literal["none", "standard", "minmax"] = "none",
    ) -> None:
        super().__init__(estimator, shape, scale)
        self.outputs = outputs

    def _to_targets(self, y: Tensor | None) -> np.ndarray:
        if y is None:
            raise UsageError(f"{type(self.estimator).__name__} needs targets; type a dataset= that has them (diabetes)")
        targets = y.cpu().double().numpy()
        # One target is a flat vector to scikit-learn: some estimators take no other.
        return targets.reshape(-1) if self.outputs == 1 else targets

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (batch, outputs) of x (batch, *shape)."""
        if not self.is_fitted:
            return _to_device_of(torch.zeros(len(x), self.outputs), x)
        y = torch.from_numpy(self._call_sklearn("predict", _to_rows(x)))
        return _to_device_of(y.view(len(x), self.outputs), x)


class Clusterer(Estimator):
    """An estimator that divides examples into clusters, and assigns new ones to them."""

    estimator_types = ("clusterer", "density_estimator")
    declares: ClassVar[tuple[str | Metric, ...]] = ("inertia",)

    def fit(self, x: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Fit, as `Estimator.fit`; return also `inertia` where it has one, unless scaling makes that another thing."""
        results = super().fit(x)
        if self.scale == "none" and hasattr(self.estimator, "inertia_"):
            results["inertia"] = float(self.estimator.inertia_)
        return results

    def remark(self, told: Mapping[str, float]) -> str | None:
        """Return that all examples came into one cluster, and what to change, where one was not asked for."""
        labels = getattr(self.estimator, "labels_", None)
        settings = self.estimator.get_params(deep=False)
        if labels is None or len(np.unique(labels)) > 1 or settings.get("n_clusters") == 1:
            return None
        found = f"one cluster was found, with all {len(labels):,} examples in it"
        if "bandwidth" not in settings:
            return found
        radius = settings["bandwidth"]
        if radius is None:
            return f"{found}: the bandwidth was estimated, too wide; type model.estimator.bandwidth=… for a smaller one"
        return f"{found}; type model.estimator.bandwidth=… for a smaller one than {radius:g}"

    @property
    def centres(self) -> Tensor | None:
        """Centres of the clusters in the space of the data, (clusters, *shape); None where it knows none."""
        centres = getattr(self.estimator, "cluster_centers_", getattr(self.estimator, "means_", None))
        if centres is None:
            return None
        if self.scale != "none":
            centres = self.pipeline[0].inverse_transform(centres)
        return torch.from_numpy(np.array(centres, dtype=np.float64)).view(-1, *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return the index of each example's cluster, (batch,) int64, of x (batch, *shape)."""
        y = torch.from_numpy(self._call_sklearn("predict", _to_rows(x))) if self.is_fitted else torch.zeros(len(x))
        return y.long().to(x.device)


class Projector(Estimator):
    """An invertible transformer, such as PCA: code = transform(x), reconstruction = inverse_transform(code)."""

    required_methods = ("fit", "transform", "inverse_transform")
    declares: ClassVar[tuple[str | Metric, ...]] = ("components", "explained_variance")

    def fit(self, x: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Fit, as `Estimator.fit`; return also `components`, and the part of the training variance they explain."""
        results = super().fit(x)
        if hasattr(self.estimator, "components_"):
            results["components"] = float(len(self.estimator.components_))
        if hasattr(self.estimator, "explained_variance_ratio_"):
            results["explained_variance"] = float(self.estimator.explained_variance_ratio_.sum())
        return results

    def encode(self, x: Tensor) -> Tensor:
        """Return codes (batch, components) of x (batch, *shape)."""
        y = torch.from_numpy(self._call_sklearn("transform", _to_rows(x))) if self.is_fitted else torch.zeros(len(x), 1)
        return _to_device_of(y, x)

    def decode(self, z: Tensor) -> Tensor:
        """Return examples (batch, *shape) for codes z (batch, components)."""
        if not self.is_fitted:
            return _to_device_of(z.new_zeros(len(z), *self.shape), z)
        x = torch.from_numpy(self._call_sklearn("inverse_transform", _to_rows(z)))
        return _to_device_of(x.view(len(z), *self.shape), z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode x, (batch, *shape)."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return reconstructions (batch, *shape), as `reconstruct`."""
        return self.reconstruct(x)

    def pictures(self) -> dict[str, Tensor]:
        """Return the components as images, and how much of the variance the first k of them explain."""
        from dlx.figures.figures import plot_filters, plot_lines

        pictures = {}
        if len(self.shape) == 3 and hasattr(self.estimator, "components_"):
            pictures["components"] = plot_filters(torch.from_numpy(self.estimator.components_), self.shape)
        ratio = getattr(self.estimator, "explained_variance_ratio_", None)
        if ratio is not None:
            curve = {"training split": (np.arange(1, len(ratio) + 1), ratio.cumsum())}
            pictures["explained_variance"] = plot_lines(curve, x="components", y="part of the variance explained")
        return pictures


def _to_rows(x: Tensor) -> np.ndarray:
    """Convert x to (batch, features) float64, as scikit-learn's loaders give it."""
    return x.detach().flatten(1).cpu().double().numpy()


def _to_device_of(values: Tensor, x: Tensor) -> Tensor:
    """Move values to x's device, in float64 where it has that."""
    return values.to(x.device, torch.float32 if x.device.type == "mps" else torch.float64)
