"""Errors of scaled inputs say that they are none in the data's own units."""

import numpy as np
import pytest

from dlx.config.catalogue import Catalogue
from dlx.config.declared import read_declared
from dlx.config.search import find_search_path
from dlx.metrics import CATALOGUE

SHORT = ("trainer.epochs=1", "trainer.pictures=false")
PLAIN = "not in the data's own units"
# What is measured on inputs, whatever the task is called; targets and series are brought back to their own units.
OF_INPUTS = {
    *("squared_error", "reconstruction_error", "sampled_reconstruction_error", "pca_squared_error"),
    *("inertia", "squared_distance", "quantisation_error"),
}


@pytest.fixture
def table():
    rows = np.random.default_rng(0).normal(size=(60, 4)) * [1, 10, 100, 1000] + 7
    np.savetxt("t.csv", rows, delimiter=",", header="a,b,c,d", comments="")
    return "dataset=csv", "dataset.path=t.csv", "dataset.target=null"


def test_catalogue_tells_inputs_from_targets():
    units = {metric.name: metric.unit for metric in CATALOGUE}
    assert {name for name, unit in units.items() if unit.startswith("input")} == OF_INPUTS
    assert {name for name, unit in units.items() if unit.startswith("data")} == {
        *("rmse", "mae", "median_absolute_error", "mse")
    }


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("model=pca", "model.estimator.n_components=2"), ("mse", "squared_error")),
        (("model=autoencoder", "model.hidden=[4,2]"), ("mse", "squared_error")),
        (("model=rbm", "model.visible_units=gaussian"), ("reconstruction_error", "sampled_reconstruction_error")),
        (("model=kmeans", "model.estimator.n_clusters=3"), ("inertia", "squared_distance")),
        (("model=self_organizing_map", "model.rows=3", "model.columns=3"), ("quantisation_error", "squared_distance")),
    ],
)
def test_plan_says_so_where_the_inputs_are_scaled(words, names, table, train):
    for scale in ("standard", "none"):
        run = train(scale, *table, f"dataset.scale={scale}", *words, *SHORT)
        said = [note for note in run.read().get("notes", []) if PLAIN in note]
        if scale == "none":
            assert not said
        else:
            (note,) = said
            assert "dataset.scale=standard" in note
            assert set(names) <= set(note.partition(":")[0].split(", "))


def test_unscaled_reconstruction_is_measured_in_the_units_of_the_file(table, train):
    from sklearn.decomposition import PCA

    words = ("dataset.scale=none", "model=pca", "model.estimator.n_components=2", "dataset.test=0")
    run = train("run", *table, *words, *SHORT)
    parts = load(run)
    x, val = (parts.dataset.splits[name].x.double().numpy() for name in ("train", "val"))
    pca = PCA(2).fit(x)
    wanted = ((val - pca.inverse_transform(pca.transform(val))) ** 2).mean()
    assert run.read()["metrics"]["val/mse"] == pytest.approx(wanted, rel=1e-4)


def load(run):
    from dlx.parts import load_trained
    from dlx.runs.saved import load_config

    return load_trained(run, load_config(run))[0]


def test_every_model_whose_metrics_are_of_inputs_says_so(train):
    """Over the registry: a metric in the inputs' units is remarked on where these are scaled."""
    from dlx.config.compose import compose
    from dlx.parts import assemble
    from dlx.run import declared_metrics
    from dlx.training.units import remark_scaled_inputs

    catalogue = Catalogue(find_search_path())
    checked = []
    for name in catalogue.names("model"):
        try:
            config = compose([f"model={name}", "dataset=digits", "trainer.device=cpu"])
        except Exception:  # another dataset's
            continue
        if not any(metric.unit.startswith("input") and metric.direction for metric in read_declared(config)):
            continue
        parts = assemble(config)
        declared = declared_metrics(parts)
        if not any(metric.unit.startswith("input") and metric.direction for metric in declared):
            continue  # those of its pretraining alone
        said = remark_scaled_inputs(parts.dataset, parts.model, declared)
        assert said is not None, name
        assert PLAIN in said
        checked.append(name)
    assert {"autoencoder", "pca", "rbm", "kmeans", "self_organizing_map"} <= set(checked)


def test_evaluate_says_so(capsys, train):
    from dlx.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(train("pca", "model=pca", *SHORT).directory)])
    assert not stop.value.code
    printed = "".join(capsys.readouterr())
    assert "mse, squared_error: of the inputs as the model sees them (dataset.scale=unit)" in printed
