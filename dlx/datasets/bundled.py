"""Data that comes with scikit-learn, read from its files without importing it."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np


def read_numbers(file: str, skip: int = 0) -> np.ndarray | None:
    """Read a table among scikit-learn's own files; None where this version keeps it elsewhere.

    `import sklearn.datasets` takes 0.7 s and reading the file 4 ms. The tests compare with scikit-learn's loaders.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / "datasets" / "data" / file if folders else Path(file)
    if not path.is_file():
        return None
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = text.decode("ascii").splitlines()[skip:]
    return np.loadtxt(lines, delimiter="," if "," in lines[0] else None, ndmin=2)
