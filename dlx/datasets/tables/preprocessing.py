"""Preprocessing of tables within an exported graph: numbers, and codes of categories, to scaled columns."""

from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor

from dlx.datasets.preprocessing import Field, Preprocessing, Scaling
from dlx.datasets.tables.features import Feature

GAP = -1  # the code of an empty cell


class TableScaling(Scaling, Protocol):
    """What preprocessing needs of a table besides."""

    features: list[Feature]
    missing: Literal["error", "drop", "mean"]
    fill_values: Tensor  # (features,) float64


class TablePreprocessing(Preprocessing):
    """Numbers (batch, columns) float64, NaN for gaps, and codes of categories (batch, columns) int64.

    A code is a value's place in its column's list; -1 is a gap, and a code beyond the list a value that training did
    not see, where the run takes such values at all.
    """

    dataset: TableScaling

    def __init__(self, dataset: TableScaling) -> None:
        super().__init__(dataset)
        self.numeric = [feature for feature in dataset.features if feature.values is None]
        self.categorical = [feature for feature in dataset.features if feature.values is not None]

    @property
    def fields(self) -> tuple[Field, ...]:
        names = [feature.name for feature in self.numeric]
        found = []
        if names:
            gaps = "NaN for a gap" if self.dataset.missing == "mean" else "without gaps"
            meaning = f"columns in this order, in the units of the file, {gaps}"
            found.append(Field("x", torch.float64, (len(names),), meaning, {"columns": names}))
        if self.categorical:
            table = {feature.name: list(feature.values or ()) for feature in self.categorical}
            meaning = "the place of each column's text in its list of categories; -1 for a gap"
            more = {"columns": list(table), "categories": table}
            found.append(Field("categories", torch.int64, (len(table),), meaning, more))
        return tuple(found)

    def forward(self, given: Mapping[str, Tensor]) -> Tensor:
        columns, number, code = [], 0, 0
        for feature in self.dataset.features:
            if feature.values is None:
                columns.append(given["x"][:, number : number + 1])
                number += 1
            else:
                columns.append(self._make_columns(given["categories"][:, code : code + 1], feature))
                code += 1
        x = columns[0] if len(columns) == 1 else torch.cat(columns, 1)
        if self.dataset.missing == "mean":
            x = torch.where(x.isnan(), self.dataset.fill_values.to(x), x)
        return self.transform(x)

    def _make_columns(self, codes: Tensor, feature: Feature) -> Tensor:
        """Return a column for each category (batch, k) float64 of codes (batch, 1), or one for two."""
        size = len(feature.values or ())
        first = 0 if feature.one_hot else 1
        columns = (codes == torch.arange(first, size)).double()
        return columns.where(codes != GAP, torch.nan)  # filled like any other gap

    def snap(self, x: Tensor) -> Tensor:
        x, place = x.clone(), 0
        for feature in self.dataset.features:
            width = 1 if feature.values is None or not feature.one_hot else len(feature.values)
            part = x[:, place : place + width]
            if feature.values is not None:
                whole = part == part.amax(1, keepdim=True) if width > 1 else part > 0.5
                x[:, place : place + width] = whole.to(x)
            place += width
        return x

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        numbers, codes, place = [], [], 0
        for feature in self.dataset.features:
            width = 1 if feature.values is None or not feature.one_hot else len(feature.values)
            part = x[:, place : place + width].double()
            place += width
            if feature.values is None:
                numbers.append(part[:, 0])
                continue
            whole = ((part == 0) | (part == 1)).all(1)  # what stands for a gap is between
            seen = part.argmax(1).where(part.sum(1) > 0, width) if feature.one_hot else part[:, 0].long()
            codes.append(seen.where(whole, GAP))
        stacked = {"x": numbers, "categories": codes}
        return {name: torch.stack(values, 1) for name, values in stacked.items() if values}
