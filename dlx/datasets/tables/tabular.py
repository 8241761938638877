"""Rows of numbers: scikit-learn's small classics, which come with it and need no network."""

import gzip
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dlx.datasets.dataset import Dataset, Split, Stream
from dlx.datasets.images.images import Images
from dlx.types import Count, Fraction


class Table(Dataset):
    """Base of all tables: examples are vectors, (features,).

    Args:
        scale: `standard` gives each feature mean 0 and variance 1 on the training split, `minmax` puts it into [0, 1]
            there, `none` leaves it.
        scale_target: `standard` does the same to the targets of a regression, which a network needs in order to learn
            at its usual rates; `target_mean` and `target_std` lead back. Labels are never scaled.
        shape, classes, outputs, seed, val, test, limit: as in `Dataset`.
    """

    kind = "vector"

    def __init__(
        self,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "standard", "minmax"] = "standard",
        scale_target: Literal["none", "standard"] = "none",
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit)
        self.scale, self.scale_target = scale, scale_target
        self.shift, self.width = torch.zeros(()), torch.ones(())

    def prepare(self, train: Split | Stream) -> None:
        assert isinstance(train, Split)
        if self.scale == "standard":
            self.shift, self.width = standard(train.x)
        elif self.scale == "minmax":
            low, high = train.x.amin(0), train.x.amax(0)
            self.shift, self.width = low, torch.where(high > low, high - low, 1)
        self.scale_targets(train)

    def scale_targets(self, train: Split) -> None:
        """Standardise the targets of all splits by those of the training split, if that is asked for."""
        if self.scale_target == "standard" and train.y is not None and train.y.is_floating_point():
            mean, std = self.target_mean, self.target_std = standard(train.y)
            for name, part in self.splits.items():
                if isinstance(part, Split) and part.y is not None:
                    self.splits[name] = Split(part.x, (part.y - mean) / std, part.lengths)

    def transform(self, x: Tensor, train: bool, generator: torch.Generator | None = None) -> Tensor:
        if self.scale == "none":
            return x
        return (x - self.shift.to(x.device)) / self.width.to(x.device)


def standard(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, as float32; 1 for a constant column."""
    wide = values.double()
    mean, std = wide.mean(0), wide.std(0, correction=0)
    # Rounding leaves a constant column a tiny spread, which must not be blown up.
    return mean.float(), torch.where(std > 1e-7 * mean.abs(), std, 1).float()


class Digits(Images):
    """The 1,797 handwritten digits of 8×8 pixels and 17 grey levels of the UCI repository (Alpaydin, Kaynak 1998).

    Args:
        size: pixels of each side; other than 8, images are interpolated bilinearly, for networks that need larger ones.
        shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment: as in `Images`.
    """

    def __init__(
        self,
        size: Count = 8,
        shape: Sequence[int] | None = None,
        classes: Count | None = None,
        outputs: Count | None = None,
        seed: int = 0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        limit: Count | None = None,
        scale: Literal["none", "unit", "symmetric", "standard"] = "unit",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        binarize: Literal["none", "threshold", "static", "stochastic"] = "none",
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(shape, classes, outputs, seed, val, test, limit, scale, mean, std, binarize, augment)
        self.size = size
        self.levels = 16.0 if size == 8 else 255.0  # interpolation needs finer steps than the sixteen

    def read(self) -> dict[str, Split | Stream]:
        rows = _numbers("digits.csv.gz")
        if rows is None:
            from sklearn.datasets import load_digits

            data = load_digits()
            rows = np.column_stack([data.data, data.target])
        self.names = [str(digit) for digit in range(10)]
        x = torch.from_numpy(rows[:, :-1]).view(-1, 1, 8, 8)
        if self.size != 8:
            x = F.interpolate(x * (255 / 16), self.size, mode="bilinear", align_corners=False).round()
        return {"train": Split(x.to(torch.uint8), torch.from_numpy(rows[:, -1].astype(np.int64)))}


class Iris(Table):
    """Fisher's 150 irises: lengths and widths of sepals and petals, in centimetres (Annals of Eugenics 7, 1936)."""

    def read(self) -> dict[str, Split | Stream]:
        self.names = ["setosa", "versicolor", "virginica"]
        self.columns = ["sepal length", "sepal width", "petal length", "petal width"]
        return {"train": _labelled("iris")}


class Wine(Table):
    """Chemical analyses of 178 wines by three growers of one region (Forina et al., UCI repository, 1991)."""

    def read(self) -> dict[str, Split | Stream]:
        self.names = ["class_0", "class_1", "class_2"]
        return {"train": _labelled("wine")}


class BreastCancer(Table):
    """Measures of cell nuclei of 569 tumours (Wolberg et al., UCI repository, 1995)."""

    def read(self) -> dict[str, Split | Stream]:
        self.names = ["malignant", "benign"]
        return {"train": _labelled("breast_cancer")}


class Diabetes(Table):
    """442 patients; the target is the disease's progression a year later (Efron et al., Annals of Statistics 32, 2004).

    As scikit-learn gives it: each feature is centred, and divided by its standard deviation times √442.
    """

    def read(self) -> dict[str, Split | Stream]:
        self.columns = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
        x, y = _numbers("diabetes_data_raw.csv.gz"), _numbers("diabetes_target.csv.gz")
        if x is None or y is None:
            from sklearn.datasets import load_diabetes

            x, y = load_diabetes(return_X_y=True)
        else:
            x = (x - x.mean(0)) / x.std(0) / len(x) ** 0.5
        return {"train": Split(torch.from_numpy(x).float(), torch.from_numpy(y).float().view(-1, 1))}


def _labelled(name: str) -> Split:
    """One of scikit-learn's tables whose last column is the label."""
    file = "wine_data.csv" if name == "wine" else f"{name}.csv"
    rows = _numbers(file, skip=1)
    if rows is None:
        import sklearn.datasets

        data = getattr(sklearn.datasets, f"load_{name}")()
        rows = np.column_stack([data.data, data.target])
    return Split(torch.from_numpy(rows[:, :-1]).float(), torch.from_numpy(rows[:, -1].astype(np.int64)))


def _numbers(file: str, skip: int = 0) -> np.ndarray | None:
    """A table among scikit-learn's own files, None where this version keeps it elsewhere.

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
