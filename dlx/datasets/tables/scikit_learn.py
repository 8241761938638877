"""scikit-learn's small classics, which come with it and need no network."""

import numpy as np
import torch

from dlx.datasets import bundled
from dlx.datasets.splits import Split, Stream
from dlx.datasets.tables.table import Table


class Iris(Table):
    """Fisher's 150 irises: lengths and widths of sepals and petals, in centimetres (Annals of Eugenics 7, 1936)."""

    def read(self) -> dict[str, Split | Stream]:
        self.names = ["setosa", "versicolor", "virginica"]
        self.columns = ["sepal length", "sepal width", "petal length", "petal width"]
        return {"train": _read_labelled("iris")}


class Wine(Table):
    """Chemical analyses of 178 wines by three growers of one region (Forina et al., UCI repository, 1991)."""

    def read(self) -> dict[str, Split | Stream]:
        self.names = ["class_0", "class_1", "class_2"]
        return {"train": _read_labelled("wine")}


class BreastCancer(Table):
    """Measures of cell nuclei of 569 tumours (Wolberg et al., UCI repository, 1995)."""

    def read(self) -> dict[str, Split | Stream]:
        self.names = ["malignant", "benign"]
        return {"train": _read_labelled("breast_cancer")}


class Diabetes(Table):
    """442 patients; the target is the disease's progression a year later (Efron et al., Annals of Statistics 32, 2004).

    As scikit-learn gives it: each feature is centred, and divided by its standard deviation times √442.
    """

    def read(self) -> dict[str, Split | Stream]:
        self.columns = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
        x, y = bundled.read_numbers("diabetes_data_raw.csv.gz"), bundled.read_numbers("diabetes_target.csv.gz")
        if x is None or y is None:
            from sklearn.datasets import load_diabetes

            x, y = load_diabetes(return_X_y=True)
        else:
            x = (x - x.mean(0)) / x.std(0) / len(x) ** 0.5
        return {"train": Split(torch.from_numpy(x).float(), torch.from_numpy(y).float().view(-1, 1))}


def _read_labelled(name: str) -> Split:
    """Read one of scikit-learn's tables whose last column is the label."""
    file = "wine_data.csv" if name == "wine" else f"{name}.csv"
    rows = bundled.read_numbers(file, skip=1)
    if rows is None:
        import sklearn.datasets

        data = getattr(sklearn.datasets, f"load_{name}")()
        rows = np.column_stack([data.data, data.target])
    return Split(torch.from_numpy(rows[:, :-1]).float(), torch.from_numpy(rows[:, -1].astype(np.int64)))
