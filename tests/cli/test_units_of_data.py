"""What leaves dlx is in the data's own units: the cases inverse_scaling and series_units."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tests.verbs import dlx, trained


@pytest.fixture
def weather():
    """Three columns, the first of which has a mean of 20,000 standard deviations."""
    r = np.random.default_rng(0)
    data = np.c_[101325 + 5 * r.standard_normal(400), 20 + 3 * r.standard_normal(400), 50 + 10 * r.standard_normal(400)]
    options = {"delimiter": ",", "header": "pressure_pa,temp,humidity", "comments": "", "fmt": "%.4f"}
    np.savetxt("weather.csv", data, **options)
    np.savetxt("new.csv", data[:4], **options)
    return data.round(4)


@pytest.mark.slow
def test_reconstructions_are_the_files_own_numbers(weather, tmp_path):
    run = trained(tmp_path / "run", "model=pca", "dataset=csv", "dataset.path=weather.csv")
    dlx("predict", run.directory, "new.csv", "--reconstruct", "-o", "all.csv")
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    for i, name in enumerate(("x_0", "x_1")):  # the last column is the target
        np.testing.assert_allclose([float(row[name]) for row in rows], weather[:4, i], rtol=0, atol=0)
        again = [float(row[f"reconstruction_{i}"]) for row in rows]
        np.testing.assert_allclose(again, weather[:4, i], rtol=0, atol=1e-6)  # all components are kept
    one = ("model=pca", "model.estimator.n_components=1", "dataset=csv", "dataset.path=weather.csv")
    short = trained(tmp_path / "short", *one, "dataset.val=0", "dataset.test=0")
    dlx("predict", short.directory, "new.csv", "--reconstruct", "-o", "short.csv")
    scaler = StandardScaler().fit(weather[:, :2])
    pca = PCA(1).fit(scaler.transform(weather[:, :2]))
    wanted = scaler.inverse_transform(pca.inverse_transform(pca.transform(scaler.transform(weather[:4, :2]))))
    rows = list(csv.DictReader(Path("short.csv").read_text().splitlines()))
    found = [[float(row["reconstruction_0"]), float(row["reconstruction_1"])] for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_samples_lie_where_the_data_lies(weather, tmp_path):
    run = trained(tmp_path / "run", "model=vae", "dataset=csv", "dataset.path=weather.csv", "trainer.epochs=20")
    dlx("sample", run.directory, "-n", "500", "-o", "samples.npy")
    samples = np.load("samples.npy")
    low, high = weather[:, :2].min(0), weather[:, :2].max(0)
    np.testing.assert_allclose(samples.mean(0), weather[:, :2].mean(0), atol=weather[:, :2].std(0).max() / 3)
    assert (abs(samples - (low + high) / 2) < high - low).all()


def test_forecasts_and_their_errors_are_in_the_series_units(tmp_path):
    r = np.random.default_rng(0)
    steps = np.arange(12)
    for name, count in (("train.ts", 30), ("test.ts", 10)):
        lines = ["@problemName t", "@univariate true", "@classLabel false", "@data"]
        for _ in range(count):
            values = 1000 + 50 * np.sin(steps * 0.5 + r.uniform(0, 6)) + r.normal(0, 1, len(steps))
            lines.append(",".join(f"{value:.3f}" for value in values))
        Path(name).write_text("\n".join(lines) + "\n")
    words = ("model=gru", "model.hidden=8", "model.outputs=1", "task=prediction", "trainer.epochs=20")
    run = trained(
        tmp_path / "run",
        *words,
        *("dataset=timeseries", "dataset.path=train.ts", "dataset.test_path=test.ts", "optimizer.lr=0.01"),
    )
    dlx("predict", run.directory, "test.ts", "-o", "all.csv")
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    series = np.array([[float(v) for v in line.split(",")] for line in Path("test.ts").read_text().splitlines()[4:]])
    found = np.array([float(row["prediction"]) for row in rows]).reshape(len(series), -1)
    assert found.min() > 900
    assert found.max() < 1100
    error = np.sqrt(np.square(series[:, 1:] - found[:, : series.shape[1] - 1]).mean())
    metrics = run.read()["metrics"]
    assert metrics["test/rmse"] == pytest.approx(error, rel=1e-4)
