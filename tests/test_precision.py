"""What leaves dlx has full precision: cells of CSV files read back to the number that was computed."""

import csv
import io

import numpy as np
import pytest
import torch

from dlx.trained.outputs import format_lines, make_rows, write_csv


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells_read_back(dtype):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 2, generator=generator, dtype=torch.float64) * 10.0 ** (
        torch.arange(500)[:, None] / 20 - 8
    )
    values = torch.cat([values, values + 101325.6287]).to(dtype)
    file = io.StringIO()
    write_csv(make_rows({"x": values}, None), file)
    file.seek(0)
    read = np.array([[float(row["x_0"]), float(row["x_1"])] for row in csv.DictReader(file)])
    assert np.array_equal(read.astype(values.numpy().dtype), values.numpy())


def test_single_precision_has_no_made_up_digits():
    assert make_rows({"x": torch.tensor([0.1, 1e-7])}, None) == [{"x": 0.1}, {"x": 1e-7}]


def test_lines_read_back():
    from dlx.datasets.tables.scikit_learn import Iris

    values = torch.tensor([[101325.6287, 1 / 3]], dtype=torch.float64)
    assert [float(cell) for cell in format_lines(values, Iris())[0].split()] == values[0].tolist()
