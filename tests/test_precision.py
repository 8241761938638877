"""What leaves dlx has full precision: cells of CSV files read back to the number that was computed."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.trained.outputs import format_lines, make_rows, write_csv
from tests.verbs import dlx, trained


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


def test_series_are_predicted_and_measured_in_their_units(tmp_path):
    rng = np.random.default_rng(0)
    series = [1000 + 50 * np.sin(np.arange(12 + i % 4) * 0.5 + rng.uniform(0, 6)) for i in range(24)]
    for name, part in (("train.ts", series[:16]), ("test.ts", series[16:])):
        lines = [",".join(f"{value:.3f}" for value in values) for values in part]
        Path(name).write_text("\n".join(["@univariate true", "@classLabel false", "@data", *lines]) + "\n")
    data = ["dataset=timeseries", "dataset.path=train.ts", "dataset.test_path=test.ts"]
    sizes = ["model=gru", "model.hidden=8", "model.outputs=1", "trainer.epochs=2", "optimizer.lr=0.01"]
    run = trained(tmp_path / "run", *data, "task=prediction", *sizes)
    metrics = json.loads(dlx("evaluate", run.directory, "--json"))
    dlx("predict", run.directory, "test.ts", "-o", "p.csv")
    rows = csv.DictReader(Path("p.csv").read_text().splitlines())
    predicted = {(int(row["sequence"]), int(row["step"])): float(row["prediction"]) for row in rows}
    errors = [
        values[step + 1] - predicted[i, step] for i, values in enumerate(series[16:]) for step in range(len(values) - 1)
    ]
    assert all(700 < value < 1300 for value in predicted.values())
    assert metrics["test/rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)
    assert metrics["test/mse"] == pytest.approx(metrics["test/rmse"] ** 2)


def test_reconstructions_keep_a_large_mean(tmp_path):
    rng = np.random.default_rng(0)
    values = np.c_[101325 + 5 * rng.standard_normal(200), 20 + 3 * rng.standard_normal(200)]
    np.savetxt("weather.csv", values, delimiter=",", header="pressure,temp", comments="", fmt="%.4f")
    # Two components of two features lose nothing.
    data = ["dataset=csv", "dataset.path=weather.csv", "dataset.target=null"]
    run = trained(tmp_path / "run", "model=pca", *data, "model.estimator.n_components=2")
    dlx("predict", run.directory, "weather.csv", "--reconstruct", "-o", "r.npz")
    with np.load("r.npz") as found:
        np.testing.assert_allclose(found["x"], values, atol=0.01)
        np.testing.assert_allclose(found["reconstruction"], values, atol=0.01)
