"""scikit-learn's estimators as .skops: with the run's own scaling before them, and targets in their units."""

from typing import Any

import numpy as np
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from dlx.datasets.dataset import Dataset
from dlx.datasets.preprocessing import describe_scaling

METHODS = ("predict_proba", "predict", "transform")  # the first that an estimator has is compared


def add_preprocessing(estimator: Any, dataset: Dataset) -> Any:
    """Return an estimator that takes raw rows (n, features) float64, in the units of the data, NaN for gaps if filled.

    What was fitted by dlx is put into scikit-learn's own steps: nothing is fitted here.

    Args:
        estimator: fitted to scaled rows and targets.
        dataset: with what was fitted.
    """
    about = describe_scaling(dataset)
    steps: list[Any] = []
    if "gaps" in about:
        steps.append(SimpleImputer(keep_empty_features=True).fit(np.array([about["gaps"]], dtype=np.float64)))
    shift, width = _find_affine(about, tuple(dataset.shape or ()))
    if bool((shift != 0).any() or (width != 1).any()):
        steps.append(_make_scaler(shift, width))
    whole = make_pipeline(*steps, estimator) if steps else estimator
    if dataset.target_mean is None or dataset.target_std is None or not hasattr(estimator, "predict"):
        return whole
    scaler = _make_scaler(dataset.target_mean.double().numpy(), dataset.target_std.double().numpy())
    unscaled = TransformedTargetRegressor(regressor=whole, transformer=scaler)
    unscaled.regressor_, unscaled.transformer_ = whole, scaler
    unscaled._training_dim = 1 if dataset.target_mean.numel() == 1 else 2  # what its `fit` would find
    return unscaled


def _find_affine(about: dict[str, Any], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift and the width of each feature (features,), of a scaling as `describe_scaling` has it."""
    scale, size = about["scale"], shape[1:] if len(shape) == 3 else ()
    shift: Any = about.get("shift", 0.0)
    width: Any = about.get("width", 1.0)
    if "levels" in about:
        levels = float(about["levels"])
        means, stds = (np.array(about.get(name, 0.0), dtype=np.float64) for name in ("mean", "std"))
        shift, width = {
            "none": (0.0, 1.0),
            "unit": (0.0, levels),
            "symmetric": (levels / 2, levels / 2),
        }.get(scale, (levels * means, levels * stds))
        shift, width = (np.reshape(values, (-1, *[1] * len(size))) for values in (shift, width))
    full = [np.broadcast_to(np.asarray(values, dtype=np.float64), shape).reshape(-1) for values in (shift, width)]
    return full[0].copy(), full[1].copy()


def _make_scaler(mean: np.ndarray, std: np.ndarray) -> StandardScaler:
    mean, std = np.atleast_1d(mean), np.atleast_1d(std)
    scaler = StandardScaler().fit(mean[None])
    scaler.mean_, scaler.scale_, scaler.var_ = mean, std, std**2
    return scaler


def find_difference(exported: Any, estimator: Any, raw: Tensor, dataset: Dataset, bare: bool) -> tuple[str, float]:
    """Return which method was compared, and by how much the exported estimator differs from the run's own.

    Args:
        exported: read back.
        estimator: the run's, of scaled rows.
        raw: examples (n, *shape) as the dataset holds them.
        dataset: with what was fitted.
        bare: the exported one takes scaled rows too.
    """
    scaled = dataset.transform(raw, False, None).flatten(1).cpu().double().numpy()
    rows = scaled if bare else raw.flatten(1).cpu().double().numpy()
    method = next(name for name in METHODS if hasattr(exported, name))
    expected, found = getattr(estimator, method)(scaled), getattr(exported, method)(rows)
    if dataset.target_mean is not None and dataset.target_std is not None and method == "predict" and not bare:
        own = torch.from_numpy(np.asarray(expected, dtype=np.float64)).reshape(len(raw), -1)
        expected = (own * dataset.target_std + dataset.target_mean).numpy().reshape(found.shape)
    if expected.shape != found.shape:
        return method, float("inf")
    largest = max(1.0, float(np.abs(np.asarray(expected, dtype=np.float64)).max(initial=0)))
    return method, float(np.abs(np.asarray(expected - found, dtype=np.float64)).max(initial=0)) / largest
