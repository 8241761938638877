"""Exported files take raw rows, and give what `dlx predict` gives for the same rows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dlx.errors import UsageError
from tests.verbs import dlx, trained

CITIES, COLOURS = ["bonn", "oslo", "rome"], ["blue", "red"]


class Exported:
    """An exported file, as somebody without dlx would use it."""

    def __init__(self, path: str) -> None:
        if path.endswith(".onnx"):
            import onnxruntime

            self.session = onnxruntime.InferenceSession(path)
            self.about = self.session.get_modelmeta().custom_metadata_map
            return
        self.session, files = None, {"dlx.json": ""}
        self.module = torch.export.load(path, extra_files=files).module()
        self.about = json.loads(files["dlx.json"])

    def __call__(self, **inputs):
        if self.session is None:
            found = self.module(*(torch.from_numpy(value) for value in inputs.values()))
            return {name: value.detach().numpy() for name, value in found.items()}
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))

    def read(self, key):
        return json.loads(self.about[key])


def predict(run, path, *columns):
    """Columns of `dlx predict`, as its CSV has them."""
    dlx("predict", run.directory, path, "-o", "predicted.csv")
    with open("predicted.csv") as file:
        rows = list(csv.DictReader(file))
    return [np.array([row[column] for row in rows]) for column in columns]


def write_table(path, rows, targets, gaps=True, seed=0):
    """A table of numbers far from zero, categories and gaps; what a graph is given of it, by hand."""
    rng = np.random.default_rng(seed)
    a, b = 1e5 + rng.normal(size=rows), rng.normal(size=rows)
    b[::5] = np.nan if gaps else b[::5]
    city, colour = rng.integers(3, size=rows), rng.integers(2, size=rows)
    with open(path, "w") as file:
        file.write("a,city,b,colour,target\n")
        for i in range(rows):
            cell = "" if np.isnan(b[i]) else repr(float(b[i]))
            file.write(f"{float(a[i])!r},{CITIES[city[i]]},{cell},{COLOURS[colour[i]]},{targets(a[i], city[i])}\n")
    return np.stack([a, b], 1), np.stack([city, colour], 1)


def train_table(tmp_path, targets, *words):
    write_table("train.csv", 120, targets)
    numbers = write_table("new.csv", 20, targets, seed=1)
    given = (
        "model.hidden=[8]",
        "dataset=csv",
        "dataset.path=train.csv",
        "dataset.one_hot=true",
        "dataset.missing=mean",
    )
    run = trained(tmp_path / "run", *words, *given, "trainer.epochs=2", "optimizer.lr=0.01")
    Path("train.csv").unlink()  # what was fitted to it is in the run
    return run, numbers


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_a_table_with_categories_and_gaps(tmp_path, name):
    run, (x, codes) = train_table(tmp_path, lambda a, city: ["cat", "dog", "fox"][city], "model=mlp")
    dlx("export", run.directory, "-o", name)
    net = Exported(name)
    assert net.read("classes") == ["cat", "dog", "fox"]
    assert net.read("categories") == {"city": CITIES, "colour": COLOURS}
    assert [(one["name"], one["dtype"], one["columns"]) for one in net.read("inputs")] == [
        ("x", "float64", ["a", "b"]),
        ("categories", "int64", ["city", "colour"]),
    ]
    columns = ("probability_cat", "probability_dog", "probability_fox", "label")
    *probabilities, label = predict(run, "new.csv", *columns)
    expected = np.stack(probabilities, 1).astype(float)
    for size in (1, 20):
        found = net(x=x[:size], categories=codes[:size])
        assert np.allclose(found["probability"], expected[:size], atol=1e-6)
        assert [net.read("classes")[k] for k in found["label"]] == label[:size].tolist()


@pytest.mark.slow
def test_a_regression_is_in_the_units_of_the_file(tmp_path):
    targets = lambda a, city: repr(float(1e6 + 500 * (a - 1e5) + 100 * city))  # noqa: E731
    run, (x, codes) = train_table(tmp_path, targets, "model=mlp", "task=regression")
    dlx("export", run.directory, "-o", "net.pt2")
    net = Exported("net.pt2")
    (prediction,) = predict(run, "new.csv", "prediction")
    found = net(x=x, categories=codes)["prediction"]
    assert found.dtype == np.float64
    assert np.allclose(found[:, 0], prediction.astype(float), rtol=0, atol=0.01)  # of a spread of 500
    assert net.read("targets") == ["target"]


@pytest.mark.slow
def test_bare_says_how_to_scale(tmp_path):
    run, _ = train_table(tmp_path, lambda a, city: ["cat", "dog", "fox"][city], "model=mlp")
    dlx("export", run.directory, "-o", "raw.pt2")
    dlx("export", run.directory, "--bare", "-o", "bare.pt2")
    bare, about = Exported("bare.pt2"), Exported("bare.pt2").read("preprocessing")
    x = np.array([[1e5, 0, 1, 0, 0.5, 1, 0]])  # a, city=bonn, oslo, rome, b, colour=blue, red
    scaled = ((x - about["shift"]) / about["width"]).astype(np.float32)
    raw = Exported("raw.pt2")(x=np.array([[1e5, 0.5]]), categories=np.array([[1, 0]]))["probability"]
    assert np.allclose(torch.from_numpy(bare(x=scaled)["output"]).softmax(1), raw, atol=1e-5)
    assert about["in_graph"] is False


def test_weights_alone(digits):
    from safetensors import safe_open

    dlx("export", digits.directory, "-o", "net.safetensors")
    weights = torch.load(digits.checkpoints / "best.pt", weights_only=True)["model"]
    with safe_open("net.safetensors", "pt") as file:
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            name: value.tolist() for name, value in weights.items()
        }
        assert json.loads(file.metadata()["classes"]) == [str(digit) for digit in range(10)]
        assert json.loads(file.metadata()["preprocessing"])["levels"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gru", "bilstm", "jordan"])
def test_series_of_different_lengths(tmp_path, model):
    write_series("train.ts", 30)
    series = write_series("new.ts", 9, seed=1)
    words = ("dataset=timeseries", "dataset.path=train.ts", "model.hidden=8", "trainer.max_steps=3")
    run = trained(tmp_path / "run", f"model={model}", *words)
    Path("train.ts").unlink()
    dlx("export", run.directory, "-o", "net.pt2")
    net = Exported("net.pt2")
    expected = np.stack(predict(run, "new.ts", "probability_-1", "probability_1"), 1).astype(float)
    for one, wanted in zip(series, expected, strict=True):  # each at its own length
        found = net(x=one[None, :, None], lengths=np.array([len(one)]))
        assert np.allclose(found["probability"][0], wanted, atol=1e-5)
    padded = np.zeros((len(series), 12, 1), np.float32) + 1e3  # padding that would be seen if it were read
    for row, one in zip(padded, series, strict=True):
        row[: len(one), 0] = one
    lengths = np.array([len(one) for one in series])
    assert np.allclose(net(x=padded, lengths=lengths)["probability"], expected, atol=1e-5)
    assert [one["shape"] for one in net.read("inputs")] == [["batch", "time", 1], ["batch"]]


def write_series(path, number, seed=0):
    rng = np.random.default_rng(seed)
    series = [(100 + 5 * rng.normal(size=(7, 9, 12)[i % 3])).astype(np.float32) for i in range(number)]
    header = "@problemName t\n@timeStamps false\n@missing false\n@univariate true\n@equalLength false\n"
    lines = [",".join(map(repr, map(float, one))) + f":{(-1, 1)[i % 2]}" for i, one in enumerate(series)]
    Path(path).write_text(header + "@classLabel true -1 1\n@data\n" + "\n".join(lines) + "\n")
    return series


def test_what_draws_is_refused(tmp_path):
    run = trained(tmp_path / "run", "model=autoencoder", "dataset.binarize=stochastic", "trainer.max_steps=1")
    with pytest.raises(UsageError, match="--bare"):
        dlx("export", run.directory, "-o", "net.pt2")


EXPORTED = (
    *("gru", "birnn", "jordan", "elman", "ntm", "gaussian_hmm", "categorical_hmm", "bernoulli_hmm", "hmm_tagger"),
    *("rbm", "gan", "dcgan", "vae", "conv_vae", "autoencoder", "modern_hopfield", "dbn", "helmholtz"),
    *("cnn", "lenet5", "airbench"),
)
REFUSED = ("kmeans", "ridge", "pca", "neural_gas", "self_organizing_map", "growing_neural_gas", "hopfield", "dbm")


@pytest.mark.slow
@pytest.mark.parametrize("model", [*EXPORTED, *REFUSED])
def test_every_kind_of_model(tmp_path, model):
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config
    from dlx.trained.export import export
    from tests.conftest import small

    words = ("trainer.max_steps=1", "trainer.pictures=false", "dataset.limit=200")
    run = trained(tmp_path / "run", f"model={model}", *words, *small(model))
    parts, _ = load_trained(run, load_config(run))
    if model in REFUSED:
        with pytest.raises(UsageError, match=r"cannot be exported|\.skops"):
            export(parts, Path("net.pt2"))
        assert not list(Path().glob("*net.pt2*"))
        return
    result = export(parts, Path("net.pt2"))  # which compares it with `dlx predict`
    assert result.differences
    assert result.inputs["x"][0] == "batch"
    if "lengths" in result.inputs:
        assert result.inputs["x"][1] == "time"


def test_sequences_of_one_length_are_padded_as_in_training():
    from types import SimpleNamespace

    from dlx.trained.trained import _pad_to_shape

    dataset = SimpleNamespace(shape=(4, 2), padding=torch.tensor([100.0, 7.0]))
    x = torch.ones(2, 3, 2)
    padded = _pad_to_shape(x, torch.tensor([3, 1]), SimpleNamespace(dataset=dataset))
    assert padded[0].tolist() == [[1, 1]] * 3 + [[100, 7]]
    assert padded[1].tolist() == [[1, 1]] + [[100, 7]] * 3
