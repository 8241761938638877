"""Inspect estimators of scikit-learn: their type, the estimators within them, whether they fit a model."""

import re
from collections.abc import Sequence
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils import get_tags

from dlx.errors import UsageError


def check_estimator(estimator: Any, kinds: Sequence[str], needed: Sequence[str]) -> None:
    """Check that an estimator is of the right kind and accepts its values, before anything is learned.

    Args:
        estimator: as configured.
        kinds: scikit-learn's estimator types that are accepted; empty for any.
        needed: methods that it must have.

    Raises:
        UsageError: it is of another kind, or it or an estimator within it refuses its values.
    """
    missing = [method for method in needed if not callable(getattr(estimator, method, None))]
    kind = get_tags(estimator).estimator_type if isinstance(estimator, BaseEstimator) else None
    if missing or (kinds and kind is not None and kind not in kinds):
        what = f"without {', '.join(missing)}" if missing else f"a {kind}"
        raise UsageError(
            f"model.estimator was given {type(estimator).__name__}, {what}; needed: a "
            f"{' or '.join(kinds) or 'transformer'} with {', '.join(needed)}; type model._target_="
            "dlx.models.estimator.estimator.Classifier, Regressor, Clusterer or Projector, whichever it is"
        )
    for part in [estimator, *find_nested_estimators(estimator)]:
        try:
            if hasattr(part, "_parameter_constraints"):  # scikit-learn's own; others check when they fit
                part._validate_params()
        except ValueError as error:
            named = re.search(r"'(\w+)' parameter", str(error)) if part is estimator else None
            raise UsageError(
                f"model.estimator was given a value that it refuses: {str(error).rstrip('.')}; type "
                f"model.estimator.{named[1] if named else 'NAME'}=… with one that it takes"
            ) from error


def find_nested_estimators(estimator: Any) -> list[Any]:
    """Return the estimators within an estimator, at any depth."""
    if not isinstance(estimator, BaseEstimator):
        return []
    return [value for value in estimator.get_params().values() if isinstance(value, BaseEstimator)]


def get_type_names(estimator: Any) -> set[str]:
    """Return the type names of an estimator and of those within it: what the configuration named, and so trusts."""
    kinds = (type(part) for part in [estimator, *find_nested_estimators(estimator)])
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds}


def describe_estimator(estimator: Any) -> str:
    """Return an estimator's or a pipeline's name for messages."""
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
    return " after ".join(reversed(steps)) or type(estimator).__name__
