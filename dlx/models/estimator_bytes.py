"""scikit-learn estimators as bytes, by skops: no pickle, and on the way back nothing but types that are known.

https://skops.readthedocs.io/en/stable/persistence.html
"""

import io
import json
import zipfile
from collections.abc import Iterable
from typing import Any

from dlx.errors import UsageError

# Fitted trees, neighbours and the like hold these helpers, which skops leaves to its caller to trust. They are
# scikit-learn's own and run nothing when they are built; a tampered one can still make scikit-learn read nonsense.
TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    *(
        f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
        for name in ("Euclidean", "Manhattan", "Chebyshev", "Minkowski", "SEuclidean", "Hamming")
        for bits in (32, 64)
    ),
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils._bunch.Bunch",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
)


def dumps(estimator: Any) -> bytes:
    """The bytes of an estimator, fitted or not; equal fits give equal bytes.

    skops names its parts by addresses in memory and zip adds the time: here both are replaced, else a resumed run's
    checkpoint would differ from an uninterrupted one's.

    Raises:
        UsageError: skops cannot write an estimator of this type.
    """
    import skops.io

    try:
        written = skops.io.dumps(estimator)
    except Exception as error:  # each kind of node raises its own
        raise UsageError(
            f"{type(estimator).__name__} cannot be saved ({error}); needed: an estimator that skops can write; "
            "type another model.estimator._target_"
        ) from error
    plain = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written)) as given, zipfile.ZipFile(plain, "w") as made:
        names: dict[str, str] = {}
        schema = _renamed(json.loads(given.read("schema.json")), set(given.namelist()), names, {})
        made.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema))
        for name, new in names.items():
            made.writestr(zipfile.ZipInfo(new), given.read(name))
    return plain.getvalue()


def _renamed(node: Any, files: set[str], names: dict[str, str], ids: dict[int, int]) -> Any:
    """A node of skops' schema with its ids and file names numbered in order of appearance."""
    if isinstance(node, list):
        return [_renamed(part, files, names, ids) for part in node]
    if not isinstance(node, dict):
        return node
    new: dict[str, Any] = {}
    for key, value in node.items():
        if key == "__id__":
            # Whether two equal numbers or strings are one object is chance, and nobody can tell.
            if node.get("__loader__") != "JsonNode":
                new[key] = ids.setdefault(value, len(ids))
        elif key == "file" and isinstance(value, str) and value in files:
            new[key] = names.setdefault(value, f"{len(names)}{value[value.rfind('.') :]}")
        else:
            new[key] = _renamed(value, files, names, ids)
    return new


def loads(data: bytes, trusted: Iterable[str] = ()) -> Any:
    """The estimator that `dumps` wrote.

    Args:
        data: skops' bytes.
        trusted: names of further types that may be built, such as the user's own estimators.

    Raises:
        UsageError: the bytes hold a type that is not trusted, or are not skops' at all.
    """
    import skops.io

    known = sorted({*TRUSTED, *trusted})
    try:
        foreign = sorted(set(skops.io.get_untrusted_types(data=data)) - set(known))
        if not foreign:
            return skops.io.loads(data, trusted=known)
    except Exception as error:  # a damaged archive, an altered schema: each fails in its own way
        raise UsageError(
            f"a saved estimator cannot be read ({type(error).__name__}: {str(error).splitlines()[0][:200]}); "
            "needed: what dlx saved, by the same scikit-learn and skops"
        ) from error
    raise UsageError(
        f"a saved estimator holds {', '.join(foreign)}; needed: types of scikit-learn, numpy and scipy, or of the "
        "estimator that model.estimator names; do not load it unless you know where it comes from"
    )
