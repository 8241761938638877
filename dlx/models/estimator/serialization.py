"""Serialize scikit-learn estimators with skops: no pickle, and only trusted types are loaded.

https://skops.readthedocs.io/en/stable/persistence.html
"""

import importlib
import io
import json
import zipfile
from collections.abc import Iterable
from typing import Any

from dlx.datasets.archives import MOST_UNFOLDED, check_archive
from dlx.errors import UsageError


def dumps(estimator: Any) -> bytes:
    """Serialize an estimator, fitted or not; equal fits give equal bytes.

    skops names its parts by addresses in memory and zip adds the time: here both are replaced, else a resumed run's
    checkpoint would differ from an uninterrupted one's.

    Raises:
        UsageError: skops cannot write an estimator of this type.
    """
    import skops.io

    try:
        archive = skops.io.dumps(estimator)
    except Exception as error:  # each kind of node raises its own
        raise UsageError(
            f"{type(estimator).__name__} cannot be saved ({error}); needed: an estimator that skops can write; "
            "type another model.estimator._target_"
        ) from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(buffer, "w") as target:
        names: dict[str, str] = {}
        schema = _renumber(json.loads(source.read("schema.json")), set(source.namelist()), names, {})
        target.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema))
        for name, new in names.items():
            target.writestr(zipfile.ZipInfo(new), source.read(name))
    return buffer.getvalue()


def _renumber(node: Any, files: set[str], names: dict[str, str], ids: dict[int, int]) -> Any:
    """Return a node of skops' schema with its ids and file names numbered in order of appearance."""
    if isinstance(node, list):
        return [_renumber(part, files, names, ids) for part in node]
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
            new[key] = _renumber(value, files, names, ids)
    return new


def loads(data: bytes, packages: Iterable[str] = ()) -> Any:
    """Load the estimator that `dumps` wrote.

    Args:
        data: skops' bytes.
        packages: whose classes may be built, beside scikit-learn's: those of the user's own estimators.

    Raises:
        UsageError: the bytes hold a type that is not trusted, or are not skops' at all.
    """
    import skops.io

    try:
        check_archive(io.BytesIO(data), MOST_UNFOLDED)
        untrusted = skops.io.get_untrusted_types(data=data)
        foreign = [name for name in untrusted if not _is_class(name, {"sklearn", *packages})]
        if not foreign:
            return _without_caches(skops.io.loads(data, trusted=untrusted))
    except Exception as error:  # a damaged archive, an altered schema: each fails in its own way
        raise UsageError(
            f"a saved estimator cannot be read ({type(error).__name__}: {str(error).splitlines()[0][:200]}); "
            "needed: what dlx saved, by the same scikit-learn and skops"
        ) from error
    raise UsageError(
        f"a saved estimator holds {', '.join(foreign)}; needed: classes of scikit-learn, numpy and scipy, or of the "
        "package of the estimator that model.estimator names; do not load it unless you know where it comes from"
    )


def _without_caches(estimator: Any) -> Any:
    """Return an estimator whose parts have no `memory`: a folder of pickles, which scikit-learn would load."""
    caches = [name for name, value in estimator.get_params().items() if name.split("__")[-1] == "memory" and value]
    return estimator.set_params(**dict.fromkeys(caches)) if caches else estimator


def _is_class(name: str, packages: set[str]) -> bool:
    """Return whether a name is a class that one of the packages defines.

    skops itself trusts estimators only; fitted ones hold scikit-learn's trees, distances and kernels too. They run
    nothing when they are built. Functions stay out: scikit-learn has one that deletes a directory.
    """
    module, _, attribute = name.rpartition(".")
    if module.split(".")[0] not in packages:
        return False
    value = getattr(importlib.import_module(module), attribute, None)
    return isinstance(value, type) and value.__module__.split(".")[0] in packages
